//! What can be seen from inside only: the trailer, who counts as dead, removal by identity, the copies.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio, id},
    sync::Mutex,
    thread,
};

use super::{
    SharedMemory, available,
    header::{Creator, PERSISTENT, READY, TRAILER, Trailer, object_len},
    hooks::{REGISTRAR, for_each_live, unlink_if},
    janitor::temporary_name,
};

const ROLE: &str = "PROCESSION_MEMORY_TEST_ROLE";

fn unique(what: &str) -> String {
    format!("unit-{what}-{}", id())
}

/// Removes a file that a failing test would leave.
struct Remove(String);

impl Drop for Remove {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(format!("/dev/shm/{}", self.0));
    }
}

fn identity(name: &str) -> (u64, u64) {
    let file = fs::symlink_metadata(format!("/dev/shm/{name}")).unwrap();
    (file.dev(), file.ino())
}

fn live_names() -> Vec<String> {
    let mut names = Vec::new();
    for_each_live(|name, _, _| names.push(name.to_owned()));
    names
}

fn trailer(size: u64) -> Trailer {
    Trailer {
        state: READY,
        size,
        generation: 7,
        creator: Creator::current(),
    }
}

#[test]
fn trailer_comes_back() {
    let trailer = trailer(5000);
    let len = object_len(5000).unwrap();
    assert_eq!(Trailer::decode(&trailer.encode(), len), Ok(trailer.clone()));
    let persistent = Trailer {
        state: PERSISTENT,
        ..trailer
    };
    assert_eq!(Trailer::decode(&persistent.encode(), len), Ok(persistent));
}

#[test]
fn damaged_trailer_is_refused() {
    let good = trailer(5000);
    let len = object_len(5000).unwrap();
    assert!(Trailer::decode(&[0; TRAILER], len).is_err());
    assert!(
        Trailer::decode(&good.encode(), len + 1).is_err(),
        "object of another length"
    );
    for size in [0, 1, 3 << 40, u64::MAX] {
        let lie = Trailer {
            size,
            ..good.clone()
        };
        assert!(
            Trailer::decode(&lie.encode(), len).is_err(),
            "a size of {size}"
        );
    }
    let newer = {
        let mut bytes = good.encode();
        bytes[8] ^= 2;
        bytes
    };
    assert!(
        Trailer::decode(&newer, len)
            .unwrap_err()
            .contains("version")
    );
    assert!(Trailer::decode(&Trailer { state: 9, ..good }.encode(), len).is_err());
}

#[test]
fn object_has_room_for_trailer_in_a_page_of_its_own() {
    let page = rustix::param::page_size() as u64;
    assert_eq!(object_len(1), Some(2 * page));
    assert_eq!(object_len(page), Some(2 * page));
    assert_eq!(object_len(page + 1), Some(3 * page));
    assert_eq!(object_len(isize::MAX as u64), None);
    assert_eq!(object_len(u64::MAX), None);
}

#[test]
fn only_the_certainly_dead_are_dead() {
    let me = Creator::current();
    assert!(me.start != 0 && me.pid_namespace != 0);
    assert!(!me.is_dead());
    assert!(
        Creator {
            start: me.start - 1,
            ..me.clone()
        }
        .is_dead(),
        "the pid of somebody else now"
    );
    assert!(
        Creator {
            pid: i32::MAX as u32,
            ..me.clone()
        }
        .is_dead(),
        "no such pid"
    );
    let doubtful = [
        Creator {
            pid: i32::MAX as u32,
            pid_namespace: me.pid_namespace + 1,
            ..me.clone()
        },
        Creator {
            pid: i32::MAX as u32,
            time_namespace: me.time_namespace + 1,
            ..me.clone()
        },
        Creator {
            start: 0,
            ..me.clone()
        },
        Creator {
            pid: 0,
            ..me.clone()
        },
        Creator {
            pid: u32::MAX,
            ..me
        },
    ];
    for creator in doubtful {
        assert!(!creator.is_dead(), "{creator:?}");
    }
}

#[test]
fn process_that_nobody_collected_is_dead() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let start = stat
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(19)
        .unwrap()
        .parse()
        .unwrap();
    let creator = Creator {
        pid: child.id(),
        start,
        ..Creator::current()
    };
    assert!(!creator.is_dead());
    child.kill().unwrap();
    while !creator.is_dead() {
        thread::yield_now(); // killed, but not by way of `wait`
    }
    child.wait().unwrap();
    assert!(creator.is_dead());
}

#[test]
fn only_the_named_object_is_unlinked() {
    let name = unique("identity");
    let _remove = Remove(name.clone());
    fs::write(format!("/dev/shm/{name}"), b"x").unwrap();
    let (dev, ino) = identity(&name);
    assert!(!unlink_if(&name, dev, ino + 1));
    assert!(!unlink_if(&name, dev + 1, ino));
    assert!(!unlink_if("no-such-name-here", dev, ino));
    assert!(unlink_if(&name, dev, ino));
    assert!(!unlink_if(&name, dev, ino), "repeating it does nothing");
}

#[test]
fn names_are_announced_while_they_must_go() {
    let (name, kept) = (unique("announced"), unique("kept"));
    let _remove = Remove(kept.clone());
    let memory = SharedMemory::create(&name, 10).unwrap();
    let mut persistent = SharedMemory::builder()
        .persist(true)
        .create(&kept, 10)
        .unwrap();
    assert!(live_names().contains(&name));
    assert!(!live_names().contains(&kept));
    drop(memory);
    assert!(!live_names().contains(&name));
    persistent.unlink().unwrap();
}

#[test]
fn supervisor_is_told() {
    let path = format!("{}::child", module_path!().split_once("::").unwrap().1);
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", &path, "--nocapture", "--test-threads=1"])
        .env(ROLE, "registrar")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("was told"),
        "{output:?}"
    );
}

/// Not a test: what `supervisor_is_told` runs in a process of its own, because the hook is set once for all.
#[test]
fn child() {
    static TOLD: Mutex<Vec<(String, u64, u64, bool)>> = Mutex::new(Vec::new());
    if env::var(ROLE).is_err() {
        return;
    }
    let told =
        |name: &str, dev, ino, add| TOLD.lock().unwrap().push((name.to_owned(), dev, ino, add));
    REGISTRAR.set(told).unwrap();
    let name = unique("told");
    let memory = SharedMemory::create(&name, 10).unwrap();
    let (dev, ino) = identity(&name);
    drop(memory);
    let told = TOLD.lock().unwrap();
    assert!(
        told.iter().all(|event| (event.1, event.2) == (dev, ino)),
        "{told:?}"
    );
    let events: Vec<_> = told
        .iter()
        .map(|event| (event.0 == name, event.3))
        .collect();
    // The temporary name is known until after the segment has its own.
    assert_eq!(
        events,
        [(false, true), (true, true), (false, false), (true, false)],
        "{told:?}"
    );
    println!("was told");
}

#[test]
fn half_made_segment_of_a_dead_process_is_removed() {
    let dead = Creator {
        pid: i32::MAX as u32,
        ..Creator::current()
    };
    let (left, making) = (
        temporary_name(&dead, 1),
        temporary_name(&Creator::current(), 2),
    );
    let _remove = (Remove(left.clone()), Remove(making.clone()));
    for name in [&left, &making] {
        fs::write(format!("/dev/shm/{name}"), b"").unwrap();
    }
    SharedMemory::remove_stale();
    assert!(!fs::exists(format!("/dev/shm/{left}")).unwrap());
    assert!(
        fs::exists(format!("/dev/shm/{making}")).unwrap(),
        "its maker lives"
    );
}

#[test]
fn handle_without_the_name_is_told_so() {
    let name = unique("generation");
    let first = SharedMemory::create(&name, 10).unwrap();
    let wire = postcard::to_allocvec(&first).unwrap();
    let again: SharedMemory = postcard::from_bytes(&wire).unwrap();
    first.write_at(3, b"x").unwrap();
    let mut byte = [0];
    again.read_at(3, &mut byte).unwrap();
    assert_eq!(&byte, b"x");
    assert!(!again.is_creator());

    drop(first);
    let _second = SharedMemory::create(&name, 10).unwrap();
    assert!(
        postcard::from_bytes::<SharedMemory>(&wire).is_err(),
        "another segment of this name"
    );
}

#[test]
fn copies_reach_exactly_their_bytes() {
    let memory = SharedMemory::anonymous(61).unwrap();
    let mut model = [0u8; 61];
    let mut next = 0u8;
    for offset in 0..=61 {
        for len in 0..=61 - offset {
            let bytes: Vec<u8> = (0..len)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            memory.write_at(offset, &bytes).unwrap();
            model[offset..offset + len].copy_from_slice(&bytes);
            let mut all = [0; 61];
            memory.read_at(0, &mut all).unwrap();
            assert_eq!(all, model, "after {len} bytes at {offset}");
            let mut part = vec![0; len];
            memory.read_at(offset, &mut part).unwrap();
            assert_eq!(part, bytes);
        }
    }
}

#[test]
fn neighbours_in_one_word_do_not_disturb_each_other() {
    let memory = SharedMemory::anonymous(16).unwrap();
    thread::scope(|scope| {
        for place in 0..4 {
            let memory = &memory;
            scope.spawn(move || {
                for round in 0..20_000u16 {
                    let bytes = [place as u8; 3].map(|b| b ^ round as u8);
                    memory.write_at(place * 3, &bytes).unwrap();
                    let mut back = [0; 3];
                    memory.read_at(place * 3, &mut back).unwrap();
                    assert_eq!(back, bytes);
                }
            });
        }
    });
}

#[test]
fn more_than_there_is_is_refused() {
    assert!(available::check_memory(1 << 50).is_err());
    assert!(available::check_space(1 << 50).is_err());
    assert!(available::check_memory(1).is_ok());
}
