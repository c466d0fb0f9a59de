//! The product: every place of a failure with every way to fail, through calls that wait and calls
//! that do not, with one worker and with four.

use std::thread;
use std::time::Duration;

use procession_pool::{InitFailure, Phase, Pool, TaskError, View};
use procession_testkit::{Case, birth, eventually, ledger, os, procfs};
use rustix::process::Signal;

use crate::support::failpoint::{
    DEADLY, Habit, How, Item, Place, Point, STUCK, Value, WILD, drop_it, good, take_up, work,
};
use crate::support::usable::check_usable;

/// Items of a call.
const ITEMS: u32 = 12;

/// How long an item may take where one takes for ever.
const LIMIT: Duration = Duration::from_millis(500);

/// How long a worker may take to start where one takes for ever.
const START: Duration = Duration::from_millis(250);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, run: fn(usize)| {
        for workers in [1, 4] {
            let name = format!("faults::product::{name}_{workers}");
            cases.push(Case::new(name, move || run(workers)));
        }
    };
    add("spawn", spawn);
    add("spawn_for_ever", spawn_for_ever);
    add("init", init);
    add("init_for_ever", init_for_ever);
    add("init_stuck_for_ever", init_stuck_for_ever);
    add("idle", idle);
    add("decode", |workers| deadly(Place::Decode, workers));
    add("run", |workers| deadly(Place::Run, workers));
    add("encode", |workers| deadly(Place::Encode, workers));
    add("between", |workers| deadly(Place::Between, workers));
    add("wild", wild);
    add("stuck", stuck);
    add("between_stuck", between_stuck);
    add("teardown", |workers| leaving(Place::Teardown, workers));
    add("exit", |workers| leaving(Place::Exit, workers));
    add("retiring_teardown", |workers| {
        retiring(Place::Teardown, workers)
    });
    add("retiring_exit", |workers| retiring(Place::Exit, workers));
    add("retiring_stuck", retiring_stuck);
    add("teardown_stuck", |workers| {
        never_leaving(Place::Teardown, workers)
    });
    add("exit_stuck", |workers| never_leaving(Place::Exit, workers));
    cases
}

/// Which call the items go through.
#[derive(Debug, Clone, Copy)]
enum Through {
    Map(usize),
    Submit,
}

const BOTH: [Through; 3] = [Through::Map(1), Through::Map(5), Through::Submit];

fn call(view: &View, through: Through, points: &[Point]) -> Vec<Result<Value, TaskError>> {
    let items = points.iter().copied().map(Item);
    match through {
        Through::Map(size) => view.chunksize(size).map_results(work, items),
        Through::Submit => {
            let handles: Vec<_> = items.map(|item| view.apply_async(work, item)).collect();
            handles.into_iter().map(|handle| handle.get()).collect()
        }
    }
}

/// The exact outcome of each, and how often it ran.
#[track_caller]
fn check(points: &[Point], outcomes: &[Result<Value, TaskError>]) {
    assert_eq!(points.len(), outcomes.len(), "one outcome per item");
    for (point, outcome) in points.iter().zip(outcomes) {
        let decoded = !matches!(point.fails, Some((Place::Decode, how)) if !WILD.contains(&how));
        let runs = ledger::get(point.id);
        assert_eq!(
            runs,
            u32::from(decoded),
            "{point:?} ran so often: {outcome:?}"
        );
        match (point.fails, outcome) {
            (None | Some((Place::Between, _)), Ok(value)) => assert_eq!(value.point, *point),
            (Some((_, how)), Ok(value)) if WILD.contains(&how) => assert_eq!(value.point, *point),
            (Some((place, how)), Err(TaskError::WorkerDied(death))) => {
                let phase = match place {
                    Place::Decode => Phase::Decoding,
                    Place::Encode => Phase::Encoding,
                    _ => Phase::Running,
                };
                let found = (death.signal(), death.exit_code());
                assert_eq!(
                    (Some(found), death.phase()),
                    (how.death(), phase),
                    "{point:?}"
                );
                assert_ne!(death.pid(), 0);
            }
            (Some((_, how)), Err(TaskError::TimedOut(limit))) if STUCK.contains(&how) => {
                assert_eq!(*limit, LIMIT);
            }
            _ => panic!("{point:?} came to {outcome:?}"),
        }
    }
}

/// Three items of a call fail; the pool goes on, and has as many workers as before.
fn deadly(place: Place, workers: usize) {
    let pool = Pool::with_workers(workers).unwrap();
    for (number, how) in DEADLY.into_iter().enumerate() {
        for through in BOTH {
            let mut points = good(ITEMS);
            for at in [0, 3 + number, 11] {
                points[at].fails = Some((place, how));
            }
            check(&points, &call(&pool, through, &points));
        }
    }
    check_usable(&pool);
    assert_eq!(pool.worker_pids().len(), workers);
}

/// Outcomes do not go through descriptors: a worker without any goes on.
fn wild(workers: usize) {
    let pool = Pool::with_workers(workers).unwrap();
    for how in WILD {
        for place in [Place::Decode, Place::Run, Place::Encode, Place::Between] {
            for through in BOTH {
                let mut points = good(ITEMS);
                points[4].fails = Some((place, how));
                check(&points, &call(&pool, through, &points));
            }
        }
        check_usable(&pool);
    }
}

/// Stopped or hanging, with a time-out. Each way has a pool of its own, as they only wait.
fn stuck(workers: usize) {
    thread::scope(|scope| {
        for how in STUCK {
            for through in BOTH {
                scope.spawn(move || {
                    let pool = Pool::with_workers(workers).unwrap();
                    let mut points = good(ITEMS);
                    let places = [Place::Decode, Place::Run, Place::Encode];
                    for (at, place) in [2, 5, 8].into_iter().zip(places) {
                        points[at].fails = Some((place, how));
                    }
                    check(&points, &call(&pool.timeout(LIMIT), through, &points));
                    check_usable(&pool);
                });
            }
        }
    });
}

/// A value that never comes to the end of its drop was there before: it costs no item.
fn between_stuck(workers: usize) {
    thread::scope(|scope| {
        for how in STUCK {
            for through in BOTH {
                scope.spawn(move || {
                    let pool = Pool::with_workers(workers).unwrap();
                    let mut points = good(ITEMS);
                    for at in [2, 5, 11] {
                        points[at].fails = Some((Place::Between, how));
                    }
                    check(&points, &call(&pool.timeout(LIMIT), through, &points));
                    check_usable(&pool);
                });
            }
        }
    });
}

/// Runs good items while `birth` makes those die that are born.
fn spawn(workers: usize) {
    for how in DEADLY.into_iter().chain(STUCK) {
        let Some(birth) = how.at_birth() else {
            continue;
        };
        for through in BOTH {
            let pool = Pool::builder().workers(workers).start_timeout(START);
            let pool = pool.build().unwrap();
            let mut points = good(ITEMS);
            points[0].fails = Some((Place::Run, How::Kill));
            let before = ledger::get(birth::COUNT);
            ledger::set(birth::HOW, birth);
            let outcomes = thread::scope(|scope| {
                scope.spawn(move || {
                    ledger::wait_for(birth::COUNT, before + 2);
                    ledger::set(birth::HOW, 0);
                });
                let outcomes = call(&pool, through, &points);
                // The others may have done it all.
                ledger::set(birth::COUNT, before + 2);
                outcomes
            });
            check(&points, &outcomes);
            check_usable(&pool);
        }
    }
}

/// F11: an error for every item after a bounded number of attempts, and a fresh start later.
fn spawn_for_ever(workers: usize) {
    for how in DEADLY {
        let Some(birth) = how.at_birth() else {
            continue;
        };
        for through in BOTH {
            ledger::set(birth::HOW, birth);
            let before = ledger::get(birth::COUNT);
            let pool = Pool::with_workers(workers).unwrap();
            let points = good(ITEMS);
            for (point, outcome) in points.iter().zip(call(&pool, through, &points)) {
                let none = matches!(outcome, Err(TaskError::NoWorkers(_)));
                assert!(none, "{how:?}: {outcome:?}");
                assert_eq!(ledger::get(point.id), 0);
            }
            let births = ledger::get(birth::COUNT) - before;
            assert!(births < 100 * (workers as u32 + 1), "{births} attempts");
            ledger::set(birth::HOW, 0);
            check_usable(&pool);
        }
    }
}

fn with_habit(place: Place, how: How, word: u32, workers: usize) -> Pool {
    let habit = Habit { place, how, word };
    let builder = Pool::builder().workers(workers);
    let builder = builder.initializer(take_up, habit).finalizer(drop_it);
    let timed = place == Place::Init && STUCK.contains(&how);
    let builder = if timed {
        builder.start_timeout(START)
    } else {
        builder
    };
    builder.build().unwrap()
}

/// F08, F10: the first attempts fail, and cost no item.
fn init(workers: usize) {
    for how in DEADLY.into_iter().chain(STUCK).chain(WILD) {
        for through in BOTH {
            let word = ledger::reserve(1);
            ledger::set(word, 2);
            let pool = with_habit(Place::Init, how, word, workers);
            let mut points = good(ITEMS);
            points[6].fails = Some((Place::Run, How::Exit(1)));
            check(&points, &call(&pool, through, &points));
            check_usable(&pool);
        }
    }
}

/// F08: a death in the initialiser is no success, however often.
fn init_for_ever(workers: usize) {
    for how in DEADLY {
        for through in BOTH {
            let word = ledger::reserve(1);
            ledger::set(word, 1_000_000);
            let pool = with_habit(Place::Init, how, word, workers);
            let points = good(ITEMS);
            for (point, outcome) in points.iter().zip(call(&pool, through, &points)) {
                let none = matches!(outcome, Err(TaskError::NoWorkers(_)));
                assert!(none, "{how:?}: {outcome:?}");
                assert_eq!(ledger::get(point.id), 0);
            }
            ledger::set(word, 0);
            check_usable(&pool);
        }
    }
}

/// F09: one that never returns, in every worker.
fn init_stuck_for_ever(workers: usize) {
    thread::scope(|scope| {
        for how in STUCK {
            for through in [Through::Map(1), Through::Submit] {
                scope.spawn(move || {
                    let word = ledger::reserve(1);
                    ledger::set(word, 1_000_000);
                    let pool = with_habit(Place::Init, how, word, workers);
                    let points = good(ITEMS);
                    for outcome in call(&pool, through, &points) {
                        let Err(TaskError::InitFailed(failure)) = &outcome else {
                            panic!("{how:?}: {outcome:?}")
                        };
                        let after = matches!(**failure, InitFailure::TimedOut(START));
                        assert!(after, "{failure:?}");
                    }
                    // Given up for good: at once from now on.
                    let error = pool.apply(|n: u8| n, 1).unwrap_err();
                    assert!(matches!(error, TaskError::InitFailed(_)), "{error:?}");
                });
            }
        }
    });
}

/// Nothing in hand: whatever happens costs nothing.
fn idle(workers: usize) {
    let word = ledger::reserve(1);
    for how in DEADLY.into_iter().chain([How::Stop]).chain(WILD) {
        let pool = with_habit(Place::Idle, how, word, workers);
        for through in BOTH {
            check_usable(&pool);
            let pid = pool.worker_pids()[0];
            ledger::set(word, pid);
            eventually("it has read its name", || match ledger::get(word) {
                0 => Ok(()),
                word => Err(format!("{word}")),
            });
            if how == How::Stop {
                // Nobody else gets past a stopped process: see the promise.
                eventually("it is stopped", || match procfs::state_and_parent(pid) {
                    Some(('T', _)) => Ok(()),
                    state => Err(format!("{state:?}")),
                });
                os::send(pid, Signal::KILL);
            }
            let points = good(ITEMS);
            check(&points, &call(&pool, through, &points));
            if how == How::CloseAll {
                break;
            }
            eventually("it is replaced", || {
                let pids = pool.worker_pids();
                match pids.len() == workers && !pids.contains(&pid) {
                    true => Ok(()),
                    false => Err(format!("{pids:?} after {pid} and {how:?}")),
                }
            });
        }
        check_usable(&pool);
        assert_eq!(pool.worker_pids().len(), workers);
    }
}

fn on_the_way_out(place: Place) -> impl Iterator<Item = How> {
    // Exit handlers that exit are nobody's but std's to judge.
    let may = move |how: &How| place != Place::Exit || !matches!(how, How::Exit(_));
    DEADLY.into_iter().chain(WILD).filter(may)
}

/// A worker that was dismissed and dies on its way out holds nobody up.
fn leaving(place: Place, workers: usize) {
    for how in on_the_way_out(place) {
        for through in BOTH {
            let pool = with_habit(place, how, 0, workers);
            let points = good(ITEMS);
            check(&points, &call(&pool, through, &points));
            check_usable(&pool);
            pool.close();
            pool.join().unwrap();
            assert_eq!(pool.worker_pids(), []);
        }
    }
}

/// As [`leaving`], of workers that make room for others.
fn retiring(place: Place, workers: usize) {
    for how in on_the_way_out(place) {
        for through in BOTH {
            let habit = Habit {
                place,
                how,
                word: 0,
            };
            let pool = Pool::builder().workers(workers).max_tasks_per_worker(4);
            let pool = pool.initializer(take_up, habit).finalizer(drop_it);
            let pool = pool.build().unwrap();
            let points = good(ITEMS);
            check(&points, &call(&pool, through, &points));
            check_usable(&pool);
        }
    }
}

/// F114: the place of a worker that never comes to the end of its finaliser is not taken for ever.
fn retiring_stuck(workers: usize) {
    thread::scope(|scope| {
        for how in STUCK {
            for through in BOTH {
                scope.spawn(move || {
                    let habit = Habit {
                        place: Place::Teardown,
                        how,
                        word: 0,
                    };
                    let pool = Pool::builder().workers(workers).start_timeout(LIMIT);
                    let pool = pool.max_tasks_per_worker(4);
                    let pool = pool.initializer(take_up, habit).finalizer(drop_it);
                    let pool = pool.build().unwrap();
                    let points = good(ITEMS);
                    check(&points, &call(&pool, through, &points));
                    pool.close();
                    pool.join().unwrap();
                    assert_eq!(pool.worker_pids(), []);
                });
            }
        }
    });
}

/// F114: a finaliser or exit handler that never returns holds up `join`, which can be told when to
/// stop, but not the end of the pool.
fn never_leaving(place: Place, workers: usize) {
    for how in STUCK {
        for through in BOTH {
            let pool = with_habit(place, how, 0, workers);
            let points = good(ITEMS);
            check(&points, &call(&pool, through, &points));
            pool.close();
            assert!(!pool.join_timeout(Duration::from_millis(20)).unwrap());
            pool.terminate();
            pool.join().unwrap();
            assert_eq!(pool.worker_pids(), []);
        }
    }
}
