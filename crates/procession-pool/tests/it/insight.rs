//! What a pool tells of itself: numbers, events, and a timeline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use procession_pool::{Event, InitFailure, Pool, PoolBuilder, PoolError, TaskError};
use procession_testkit::{Case, cases, eventually, ledger, os, pause};

use crate::insight;
use crate::support::usable::{check_usable, warm_up};

pub(crate) fn cases() -> Vec<Case> {
    cases![insight:
        counts, times, waiting_times, items_in_hand, workers_of_now, queued_items, events_of_a_crash,
        events_of_a_retirement, events_of_a_timeout, events_of_a_retry, events_of_a_resize,
        events_of_a_failing_initializer, events_of_an_idle_pool, hook_that_panics,
        hook_that_uses_the_pool, timeline, timeline_of_chunks, timeline_of_a_stormy_life,
        timeline_that_cannot_be_made, the_checker_checks,
    ]
    .into()
}

fn counts() {
    let pool = Pool::with_workers(2).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.items, stats.retries, stats.restarts), (0, 0, 0));
    assert_eq!((stats.queued, stats.queue_wait.count()), (0, 0));
    assert_eq!(stats.run_time.quantile(0.5), Duration::ZERO);
    pool.map(|n: u32| n, 0..100).unwrap();
    pool.apply(|n: u32| n, 0).unwrap();
    pool.apply_async(|n: u32| n, 0).get().unwrap();
    pool.map_async(|n: u32| n, 0..50).get().unwrap();
    assert_eq!(pool.imap(|n: u32| n, 0..48).count(), 48);
    let stats = pool.stats();
    assert_eq!((stats.items, stats.retries, stats.restarts), (200, 0, 0));
    assert_eq!(
        (stats.queue_wait.count(), stats.run_time.count()),
        (200, 200)
    );
    let die = |n: u32| {
        if n == 3 {
            std::process::abort();
        }
    };
    let outcomes = pool.chunksize(1).retries(2).map_results(die, 0..10);
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_err()).count(),
        1
    );
    let stats = pool.stats();
    assert_eq!((stats.retries, stats.restarts), (2, 3));
    let panics = pool.map_results(|_: u32| panic!("the item's panic"), 0..5);
    assert!(
        panics
            .into_iter()
            .all(|outcome: Result<(), _>| outcome.is_err())
    );
    assert_eq!(pool.stats().restarts, 3, "nobody died of a panic");
}

fn times() {
    let pool = Pool::with_workers(1).unwrap();
    let view = pool.chunksize(1);
    view.map(|()| pause(Duration::from_millis(3)), [(); 10])
        .unwrap();
    view.map(|()| (), [(); 30]).unwrap();
    let run = pool.stats().run_time;
    assert!(run.quantile(1.0) >= Duration::from_millis(3));
    assert!(
        run.quantile(0.8) >= Duration::from_millis(3),
        "ten of forty"
    );
    assert!(run.quantile(0.0) <= run.quantile(0.5) && run.quantile(0.5) <= run.quantile(1.0));
    let slow = run
        .buckets()
        .filter(|(time, _)| *time >= Duration::from_millis(3));
    assert!(slow.map(|(_, count)| count).sum::<u64>() >= 10);
    assert_eq!(run.buckets().map(|(_, count)| count).sum::<u64>(), 40);
}

fn waiting_times() {
    let pool = Pool::with_workers(1).unwrap();
    let busy = pool.apply_async(|()| pause(Duration::from_millis(20)), ());
    pool.map(|n: u32| n, 0..10).unwrap();
    busy.get().unwrap();
    let wait = pool.stats().queue_wait;
    assert_eq!(wait.count(), 11);
    assert!(wait.quantile(1.0) > Duration::ZERO);
}

fn wait((begun, n): (u32, u32)) -> u32 {
    ledger::note(begun);
    ledger::wait(begun + 1);
    n
}

fn items_in_hand() {
    let pool = Pool::with_workers(2).unwrap();
    let words = ledger::reserve(2);
    let many = pool
        .chunksize(1)
        .map_async(wait, (0..5).map(|n| (words, n)));
    ledger::wait_for(words, 2);
    let stats = pool.stats();
    let mut items: Vec<_> = stats.workers.iter().map(|worker| worker.item).collect();
    items.sort_unstable();
    assert_eq!(items, [Some(0), Some(1)]);
    assert!(stats.workers.iter().all(|worker| worker.running.is_some()));
    let before = stats.workers[0].running.unwrap();
    let after = pool.stats().workers[0].running.unwrap();
    assert!(after > before);
    ledger::set(words + 1, 1);
    many.get().unwrap();
    warm_up(&pool);
    eventually("nobody has anything in hand", || {
        match pool.stats().workers.iter().find(|one| one.item.is_some()) {
            None => Ok(()),
            Some(worker) => Err(format!("{worker:?}")),
        }
    });
    assert!(pool.stats().workers.iter().all(|one| one.running.is_none()));
}

fn workers_of_now() {
    let pool = Pool::with_workers(3).unwrap();
    warm_up(&pool);
    let stats = pool.stats();
    let pids: Vec<_> = stats.workers.iter().map(|worker| worker.pid).collect();
    assert_eq!(pids, pool.worker_pids());
    for (index, worker) in stats.workers.iter().enumerate() {
        assert_eq!((worker.index, worker.starts), (index, 1));
        assert!(worker.memory > 0 && worker.peak_memory >= worker.memory);
        assert!(worker.start_up > Duration::ZERO);
    }
    pool.apply(|()| -> () { std::process::abort() }, ())
        .unwrap_err();
    warm_up(&pool);
    let mut starts: Vec<_> = pool.stats().workers.iter().map(|one| one.starts).collect();
    starts.sort_unstable();
    assert_eq!(starts, [1, 1, 2]);
    let one = Pool::with_workers(1).unwrap();
    one.map(|()| pause(Duration::from_millis(2)), [(); 5])
        .unwrap();
    let working = eventually("the last item is counted", || {
        let worker = one.stats().workers.remove(0);
        match worker.items {
            5 => Ok(worker.working),
            other => Err(format!("{other} items")),
        }
    });
    assert!(working >= Duration::from_millis(10));
}

fn queued_items() {
    let pool = Pool::with_workers(1).unwrap();
    let words = ledger::reserve(2);
    let many = pool
        .chunksize(3)
        .map_async(wait, (0..30).map(|n| (words, n)));
    ledger::wait(words);
    assert_eq!(pool.stats().queued, 27);
    ledger::set(words + 1, 1);
    many.get().unwrap();
    assert_eq!(pool.stats().queued, 0);
}

type Log = Arc<Mutex<Vec<Event>>>;

/// A pool whose events are kept.
fn watched(builder: PoolBuilder) -> (Pool, Log) {
    let log = Log::default();
    let write = Arc::clone(&log);
    let builder = builder.on_event(move |event| write.lock().unwrap().push(event.clone()));
    (builder.build().unwrap(), log)
}

fn name(event: &Event) -> String {
    match event {
        Event::WorkerStarted {
            worker, restart, ..
        } => match restart {
            true => format!("{worker} again"),
            false => format!("{worker} started"),
        },
        Event::WorkerDied { worker, death } => format!("{worker} died {:?}", death.signal()),
        Event::WorkerLeft { worker, .. } => format!("{worker} left"),
        Event::InitFailed { worker, .. } => format!("{worker} not ready"),
        Event::TimedOut { worker, limit } => format!("{worker} took {limit:?}"),
        Event::Retried { item, attempt } => format!("item {item} again, {attempt}"),
        Event::Failed { .. } => "failed".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Waits until there are as many, and checks which.
#[track_caller]
fn check_log(pool: &Pool, log: &Log, expected: &[&str]) {
    eventually("events", || {
        // Somebody has to look.
        let _ = pool.stats();
        let found: Vec<_> = log.lock().unwrap().iter().map(name).collect();
        match found == expected {
            true => Ok(()),
            false => Err(format!("{found:?}")),
        }
    });
    log.lock().unwrap().clear();
}

fn events_of_a_crash() {
    let (pool, log) = watched(Pool::builder().workers(2));
    let pids: Vec<_> = log.lock().unwrap().iter().map(pid_of).collect();
    assert_eq!(pids, pool.worker_pids());
    check_log(&pool, &log, &["0 started", "1 started"]);
    let outcomes = pool.broadcast(
        |()| {
            if procession_pool::worker_index() == Some(1) {
                std::process::abort();
            }
        },
        &(),
    );
    assert!(outcomes[0].is_ok() && outcomes[1].is_err());
    check_log(&pool, &log, &["1 died Some(6)", "1 again"]);
    check_usable(&pool);
    check_log(&pool, &log, &[]);
    pool.close();
    pool.join().unwrap();
    let mut left: Vec<_> = log.lock().unwrap().iter().map(name).collect();
    left.sort_unstable();
    assert_eq!(left, ["0 left", "1 left"]);
}

fn pid_of(event: &Event) -> u32 {
    match event {
        Event::WorkerStarted { pid, .. } | Event::WorkerLeft { pid, .. } => *pid,
        Event::WorkerDied { death, .. } => death.pid(),
        _ => 0,
    }
}

fn events_of_a_retirement() {
    let (pool, log) = watched(Pool::builder().workers(1).max_tasks_per_worker(1));
    let first = pool.worker_pids();
    pool.apply(|()| (), ()).unwrap();
    eventually("another one is there", || match pool.worker_pids() {
        pids if pids.len() == 1 && pids != first => Ok(()),
        pids => Err(format!("{pids:?}")),
    });
    let pids: Vec<_> = log.lock().unwrap().iter().map(pid_of).collect();
    assert_eq!(pids, [first[0], first[0], pool.worker_pids()[0]]);
    check_log(&pool, &log, &["0 started", "0 left", "0 started"]);
}

fn events_of_a_timeout() {
    let (pool, log) = watched(Pool::builder().workers(1));
    let view = pool.timeout(Duration::from_millis(10));
    view.apply(|()| os::sleep_for_ever(), ()).unwrap_err();
    check_usable(&pool);
    let found: Vec<_> = log.lock().unwrap().iter().map(name).collect();
    assert_eq!(found[..3], ["0 started", "0 took 10ms", "0 died Some(9)"]);
    assert!(
        found[3] == "0 started" || found[3] == "0 again",
        "{found:?}"
    );
    assert_eq!(found.len(), 4);
}

fn events_of_a_retry() {
    let (pool, log) = watched(Pool::builder().workers(1));
    let fail = |n: u32| {
        assert!(n != 3, "the item's panic");
        n
    };
    check_log(&pool, &log, &["0 started"]);
    let outcomes = pool.retries(2).chunksize(2).map_results(fail, 0..6);
    assert!(outcomes[3].is_err());
    check_log(&pool, &log, &["item 3 again, 1", "item 3 again, 2"]);
    pool.retries(1).apply_async(fail, 3).get().unwrap_err();
    check_log(&pool, &log, &["item 0 again, 1"]);
}

fn events_of_a_resize() {
    let (pool, log) = watched(Pool::builder().workers(1));
    pool.resize(2).unwrap();
    check_log(&pool, &log, &["0 started", "1 started"]);
    pool.resize(1).unwrap();
    check_log(&pool, &log, &["1 left"]);
}

fn events_of_a_failing_initializer() {
    let runs = ledger::reserve(1);
    let fail = |runs: u32| {
        ledger::note(runs);
        Err::<(), _>("no model")
    };
    let (pool, log) = watched(Pool::builder().workers(1).initializer(fail, runs));
    let error = pool.apply(|()| (), ()).unwrap_err();
    assert!(matches!(error, TaskError::InitFailed(_)), "{error:?}");
    let events = log.lock().unwrap().clone();
    let told = events.iter().filter(|event| match event {
        Event::InitFailed { worker: 0, failure } => {
            matches!(failure, InitFailure::Failed(text) if text == "no model")
        }
        _ => false,
    });
    assert_eq!(told.count(), ledger::get(runs) as usize, "each is told");
    assert_eq!(name(events.last().unwrap()), "failed");
}

fn events_of_an_idle_pool() {
    let builder = Pool::builder()
        .workers(1)
        .idle_timeout(Duration::from_millis(5));
    let (pool, log) = watched(builder);
    check_log(&pool, &log, &["0 started", "0 left"]);
    pool.apply(|()| (), ()).unwrap();
    check_log(&pool, &log, &["0 started", "0 left"]);
}

fn hook_that_panics() {
    let builder = Pool::builder().workers(2);
    let builder = builder.on_event(|_| panic!("the hook's panic"));
    let pool = builder.build().unwrap();
    pool.apply(|()| -> () { std::process::abort() }, ())
        .unwrap_err();
    check_usable(&pool);
    let many = pool
        .retries(1)
        .map_async(|n: u32| assert!(n < 3, "the item's panic"), 0..5);
    many.get().unwrap_err();
    check_usable(&pool);
    pool.close();
    pool.join().unwrap();
}

fn hook_that_uses_the_pool() {
    let pool: Arc<Mutex<Option<Pool>>> = Arc::default();
    let values = Arc::new(Mutex::new(Vec::new()));
    let (inner, found) = (Arc::clone(&pool), Arc::clone(&values));
    let builder = Pool::builder().workers(2).on_event(move |event| {
        if let (Event::WorkerDied { .. }, Ok(pool)) = (event, inner.try_lock()) {
            let pool = pool.as_ref().unwrap();
            let stats = pool.stats();
            let value = pool
                .apply(|n: u32| n + 1, stats.workers.len() as u32)
                .unwrap();
            found.lock().unwrap().push(value);
        }
    });
    let built = builder.build().unwrap();
    let view = built.chunksize(1);
    *pool.lock().unwrap() = Some(built);
    view.apply(|()| -> () { std::process::abort() }, ())
        .unwrap_err();
    eventually("the hook has been called", || {
        let _ = view.apply(|()| (), ());
        match values.lock().unwrap().len() {
            1 => Ok(()),
            other => Err(format!("{other} times")),
        }
    });
    drop(pool.lock().unwrap().take());
}

/// What of JSON a test has to know.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Word,
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => fields.get(key),
            _ => None,
        }
    }

    fn number(&self, key: &str) -> f64 {
        match self.get(key) {
            Some(Json::Number(number)) => *number,
            other => panic!("{key} is {other:?}"),
        }
    }

    fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Some(Json::Text(text)) => text,
            _ => "",
        }
    }
}

/// Reads one value; what is left.
fn value(text: &str) -> Result<(Json, &str), String> {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('[') {
        let mut list = Vec::new();
        loop {
            if let Some(rest) = rest
                .trim_start()
                .strip_prefix(']')
                .filter(|_| list.is_empty())
            {
                return Ok((Json::List(list), rest));
            }
            let (one, after) = value(rest)?;
            list.push(one);
            match after.trim_start().split_at_checked(1) {
                Some((",", after)) => rest = after,
                Some(("]", after)) => return Ok((Json::List(list), after)),
                _ => return Err(format!("in a list: {:.40}", after)),
            }
        }
    }
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut fields = BTreeMap::new();
        loop {
            if let Some(rest) = rest
                .trim_start()
                .strip_prefix('}')
                .filter(|_| fields.is_empty())
            {
                return Ok((Json::Object(fields), rest));
            }
            let (key, after) = string(rest.trim_start())?;
            let after = after.trim_start().strip_prefix(':').ok_or("no colon")?;
            let (one, after) = value(after)?;
            if fields.insert(key.clone(), one).is_some() {
                return Err(format!("{key} twice"));
            }
            match after.trim_start().split_at_checked(1) {
                Some((",", after)) => rest = after,
                Some(("}", after)) => return Ok((Json::Object(fields), after)),
                _ => return Err(format!("in an object: {:.40}", after)),
            }
        }
    }
    if text.starts_with('"') {
        let (text, rest) = string(text)?;
        return Ok((Json::Text(text), rest));
    }
    for word in ["true", "false", "null"] {
        if let Some(rest) = text.strip_prefix(word) {
            return Ok((Json::Word, rest));
        }
    }
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
    let (number, rest) = text.split_at(end.unwrap_or(text.len()));
    let number = number
        .parse()
        .map_err(|_| format!("no value: {:.40}", text))?;
    Ok((Json::Number(number), rest))
}

fn string(text: &str) -> Result<(String, &str), String> {
    let inside = text
        .strip_prefix('"')
        .ok_or(format!("no text: {text:.40}"))?;
    let mut found = String::new();
    let mut characters = inside.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((found, &inside[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => found.push('\n'),
                Some((_, plain @ ('"' | '\\' | '/'))) => found.push(plain),
                other => return Err(format!("escaped {other:?}")),
            },
            control if control.is_control() => return Err(format!("{control:?} in a text")),
            other => found.push(other),
        }
    }
    Err("a text without an end".to_owned())
}

fn parse(text: &str) -> Result<Json, String> {
    match value(text)? {
        (found, rest) if rest.trim().is_empty() => Ok(found),
        (_, rest) => Err(format!("after the end: {rest:.40}")),
    }
}

fn the_checker_checks() {
    let good = r#" [ 1, -2.5e3, "a\"b\n", {"k": [], "l": {}}, true, null ] "#;
    assert!(matches!(parse(good), Ok(Json::List(list)) if list.len() == 6));
    for bad in [
        "[1",
        "[1,]",
        "{\"a\" 1}",
        "\"a",
        "[1] 2",
        "\"a\nb\"",
        "{\"a\":1,\"a\":2}",
        "",
        "x",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

/// The events of the timeline that `run` leaves.
fn timeline_of(builder: PoolBuilder, run: impl FnOnce(&Pool)) -> Vec<Json> {
    let path = trace_file();
    let pool = builder.trace(&path).build().unwrap();
    run(&pool);
    drop(pool);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    match parse(&text) {
        Ok(Json::List(events)) => events,
        other => panic!("{other:?} in {text}"),
    }
}

fn trace_file() -> PathBuf {
    let name = format!("procession-trace-{}.json", std::process::id());
    std::env::temp_dir().join(name)
}

fn tasks(events: &[Json]) -> Vec<&Json> {
    let is_task = |event: &&Json| event.text("cat") == "task";
    events.iter().filter(is_task).collect()
}

fn timeline() {
    let begun = Instant::now();
    let events = timeline_of(Pool::builder().workers(2), |pool| {
        let view = pool.chunksize(1);
        view.map(|()| pause(Duration::from_millis(1)), [(); 20])
            .unwrap();
        pool.apply_async(|n: u8| n, 1).get().unwrap();
    });
    let took = begun.elapsed();
    let mine = f64::from(std::process::id());
    assert!(events.iter().all(|event| event.number("pid") == mine));
    let tasks = tasks(&events);
    assert_eq!(tasks.len(), 21);
    let mut names: Vec<_> = tasks
        .iter()
        .map(|task| task.text("name").to_owned())
        .collect();
    names.sort_unstable();
    let mut expected: Vec<_> = (0..20).map(|n| format!("item {n}")).collect();
    expected.push("item 0".to_owned());
    expected.sort_unstable();
    assert_eq!(names, expected);
    for task in &tasks {
        assert_eq!(task.text("ph"), "X");
        assert!(
            [1.0, 2.0].contains(&task.number("tid")),
            "the worker's line"
        );
        let arguments = task.get("args").unwrap();
        assert_eq!(
            (arguments.number("items"), arguments.number("attempt")),
            (1.0, 0.0)
        );
    }
    // In microseconds. The other one's worker may have been kept from its CPU.
    let durations = || tasks.iter().map(|task| task.number("dur"));
    assert!(durations().filter(|&dur| dur >= 1000.0).count() >= 20);
    assert!(durations().sum::<f64>() <= 2.0 * took.as_secs_f64() * 1e6);
    let lines = events
        .iter()
        .filter(|one| one.text("name") == "thread_name");
    assert_eq!(lines.count(), 2);
}

fn timeline_of_chunks() {
    let events = timeline_of(Pool::builder().workers(2), |pool| {
        pool.chunksize(7).map(|n: u32| n, 0..30).unwrap();
    });
    let mut names: Vec<_> = tasks(&events)
        .iter()
        .map(|task| task.text("name"))
        .collect();
    names.sort_unstable();
    let expected = [
        "items 0-6",
        "items 14-20",
        "items 21-27",
        "items 28-29",
        "items 7-13",
    ];
    assert_eq!(names, expected, "the chunksize is that of the call");
    let events = timeline_of(Pool::builder().workers(2).chunksize(10), |pool| {
        pool.map(|n: u32| n, 0..30).unwrap();
        pool.chunksize(15)
            .map_async(|n: u32| n, 0..30)
            .get()
            .unwrap();
        assert_eq!(pool.chunksize(30).imap(|n: u32| n, 0..30).count(), 30);
    });
    let sizes = tasks(&events).into_iter();
    let mut sizes: Vec<_> = sizes
        .map(|task| task.get("args").unwrap().number("items"))
        .collect();
    sizes.sort_unstable_by(f64::total_cmp);
    assert_eq!(sizes, [10.0, 10.0, 10.0, 15.0, 15.0, 30.0]);
}

fn timeline_of_a_stormy_life() {
    let builder = Pool::builder().workers(2);
    let events = timeline_of(builder, |pool| {
        let some = |n: u32| match n % 10 {
            3 => std::process::abort(),
            5 => panic!("a \"quoted\"\n\\ item's panic"),
            7 => os::sleep_for_ever(),
            _ => (),
        };
        let view = pool.timeout(Duration::from_millis(200)).chunksize(1);
        let outcomes = view.retries(1).map_results(some, 0..10);
        assert_eq!(outcomes.iter().filter(|one| one.is_err()).count(), 3);
    });
    assert_eq!(tasks(&events).len(), 13, "each attempt");
    let count = |wanted: &str| {
        let names = events.iter().map(|event| event.text("name"));
        names.filter(|name| name.contains(wanted)).count()
    };
    assert_eq!(count("killed after 200ms"), 2);
    assert!(count("started as process") >= 5);
    let attempts = tasks(&events).into_iter();
    let second = attempts.filter(|task| task.get("args").unwrap().number("attempt") == 1.0);
    assert_eq!(second.count(), 3);
}

fn timeline_that_cannot_be_made() {
    let builder = Pool::builder()
        .workers(1)
        .trace("/nowhere/to/be/found.json");
    let error = builder.build().unwrap_err();
    assert!(matches!(error, PoolError::Trace(_)), "{error:?}");
}
