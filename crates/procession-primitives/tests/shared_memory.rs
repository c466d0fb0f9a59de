//! `SharedMemory` between processes: killed creators, strangers under the same name, races, and the real Python.

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt, PermissionsExt, symlink},
            process::ExitStatusExt,
        },
    },
    process::{Child, ChildStdout, Command, Stdio, id},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use procession_primitives::{SharedMemory, SharedMemoryError as E};

/// A name of this test alone; nothing stays under it, also if the test fails.
struct Name(String);

impl Name {
    fn new(what: &str) -> Self {
        Self(format!("it-{what}-{}", id()))
    }

    fn path(&self) -> String {
        format!("/dev/shm/{}", self.0)
    }

    fn exists(&self) -> bool {
        fs::symlink_metadata(self.path()).is_ok()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(self.path());
    }
}

fn bytes<const N: usize>(memory: &SharedMemory, offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    memory.read_at(offset, &mut bytes).unwrap();
    bytes
}

// ---- defect 1: a stale owner unlinks a stranger's segment

#[test]
fn stale_handle_leaves_a_strangers_segment_alone() {
    let name = Name::new("stale-handle");
    let mut stale = SharedMemory::create(&name.0, 100).unwrap();
    fs::remove_file(name.path()).unwrap();
    let new = SharedMemory::create(&name.0, 200).unwrap();
    assert!(matches!(stale.unlink(), Err(E::Missing { .. })));
    drop(stale);
    assert_eq!(SharedMemory::open(&name.0).unwrap().len(), 200);
    drop(new);
    assert!(!name.exists());
}

#[test]
fn attached_handle_removes_nothing() {
    let name = Name::new("attached");
    let memory = SharedMemory::create(&name.0, 100).unwrap();
    let mut attached = SharedMemory::open(&name.0).unwrap();
    assert!(memory.is_creator() && !attached.is_creator());
    assert!(matches!(attached.unlink(), Err(E::NotCreator { .. })));
    assert!(matches!(attached.persist(), Err(E::NotCreator { .. })));
    drop(attached);
    assert!(name.exists());
    drop(memory);
    assert!(!name.exists());
}

#[test]
fn attached_memory_stays_after_its_name_and_creator() {
    let name = Name::new("outlives");
    let memory = SharedMemory::create(&name.0, 100).unwrap();
    let attached = SharedMemory::open(&name.0).unwrap();
    memory.write_at(10, b"kept").unwrap();
    drop(memory);
    assert_eq!(&bytes::<4>(&attached, 10), b"kept");
}

#[test]
fn unlinked_once() {
    let name = Name::new("unlink");
    let mut memory = SharedMemory::create(&name.0, 100).unwrap();
    memory.unlink().unwrap();
    assert!(!name.exists() && !memory.is_creator());
    assert!(matches!(memory.unlink(), Err(E::NotCreator { .. })));
    let _next = SharedMemory::create(&name.0, 100).unwrap();
    drop(memory);
    assert!(name.exists());
}

// ---- defect 2: the race between create and open

#[test]
fn nobody_sees_a_segment_half_made() {
    let name = Name::new("race");
    let done = AtomicBool::new(false);
    let mut seen = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2_000 {
                let memory = SharedMemory::create(&name.0, 5000).unwrap();
                memory.write_at(0, b"x").unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            match SharedMemory::open(&name.0) {
                Ok(memory) => {
                    assert_eq!(memory.len(), 5000);
                    seen += 1;
                }
                Err(E::Missing { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert!(seen > 0, "the two never met");
}

#[test]
fn one_of_many_creators_wins() {
    let name = Name::new("many-creators");
    for round in 0..50 {
        if round % 5 == 0 {
            kill_in_role("make", &name); // what a dead creator left is in the way of all of them
        }
        let winners: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| SharedMemory::create(&name.0, 100)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(
            winners.iter().filter(|made| made.is_ok()).count(),
            1,
            "{winners:?}"
        );
        assert!(
            winners
                .iter()
                .flat_map(|made| made.as_ref().err())
                .all(|e| matches!(e, E::AlreadyExists { .. }))
        );
    }
}

#[test]
fn empty_object_is_named_as_what_it_is() {
    let name = Name::new("empty");
    File::create(name.path()).unwrap();
    assert!(matches!(
        SharedMemory::open(&name.0),
        Err(E::Foreign { .. })
    ));
    assert!(matches!(
        SharedMemory::open_foreign(&name.0, 10),
        Err(E::TooSmall {
            needed: 10,
            found: 0,
            ..
        })
    ));
    assert!(matches!(
        SharedMemory::open_foreign(&name.0, 0),
        Err(E::TooSmall { .. })
    ));
    assert!(matches!(
        SharedMemory::create(&name.0, 10),
        Err(E::AlreadyExists { .. })
    ));
}

#[test]
fn foreign_object_is_given_time_to_get_its_size() {
    let name = Name::new("growing");
    for _ in 0..20 {
        let object = File::create(name.path()).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(5));
                object.set_len(300).unwrap();
            });
            assert_eq!(SharedMemory::open_foreign(&name.0, 300).unwrap().len(), 300);
        });
        fs::remove_file(name.path()).unwrap();
    }
}

// ---- defect 3: sparse segments and absurd sizes

#[test]
fn pages_are_taken_at_once() {
    let name = Name::new("committed");
    let _memory = SharedMemory::create(&name.0, 3 << 20).unwrap();
    let file = fs::metadata(name.path()).unwrap();
    assert!(file.blocks() * 512 >= 3 << 20);
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn absurd_size_is_an_error_and_leaves_nothing() {
    let name = Name::new("absurd");
    for size in [1 << 40, 1 << 50, isize::MAX as usize, usize::MAX] {
        let named = SharedMemory::create(&name.0, size);
        assert!(
            matches!(named, Err(E::OutOfMemory { .. } | E::NoSpace { .. })),
            "{named:?}"
        );
        let anonymous = SharedMemory::anonymous(size);
        assert!(
            matches!(anonymous, Err(E::OutOfMemory { .. })),
            "{anonymous:?}"
        );
    }
    assert!(!name.exists());
}

#[test]
fn zero_bytes_are_refused() {
    assert!(matches!(
        SharedMemory::create("it-zero", 0),
        Err(E::ZeroSize)
    ));
    assert!(matches!(SharedMemory::anonymous(0), Err(E::ZeroSize)));
}

// ---- defect 4: truncation by a peer

#[test]
fn anonymous_memory_cannot_be_shrunk() {
    let memory = SharedMemory::anonymous(10_000).unwrap();
    let file = File::from(memory.as_fd().unwrap().try_clone_to_owned().unwrap());
    assert!(file.set_len(0).is_err());
    assert!(file.set_len(1 << 20).is_err());
    assert_eq!(bytes::<1>(&memory, 9_999), [0]);
}

#[test]
fn descriptor_that_could_be_shrunk_is_refused() {
    let name = Name::new("unsealed");
    File::create(name.path()).unwrap().set_len(4096).unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .open(name.path())
        .unwrap();
    assert!(matches!(
        SharedMemory::from_fd(file.into()),
        Err(E::Unsealed)
    ));
    let pipe: OwnedFd = std::io::pipe().unwrap().0.into();
    assert!(matches!(SharedMemory::from_fd(pipe), Err(E::Unsealed)));
}

#[test]
fn anonymous_memory_travels_by_descriptor() {
    let memory = SharedMemory::anonymous(10_000).unwrap();
    let attached =
        SharedMemory::from_fd(memory.as_fd().unwrap().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!((attached.len(), attached.name()), (10_000, None));
    memory.write_at(9_990, b"0123456789").unwrap();
    drop(memory);
    assert_eq!(&bytes::<10>(&attached, 9_990), b"0123456789");
    let refused = postcard::to_allocvec(&attached).unwrap_err().to_string();
    assert!(!refused.is_empty());
}

// ---- defect 5: no header, no size check

#[test]
fn what_is_not_ours_is_foreign() {
    let (file, link, folder) = (Name::new("file"), Name::new("link"), Name::new("folder"));
    for len in [1, 127, 128, 4096, 8192, 1 << 20] {
        fs::write(file.path(), vec![0; len]).unwrap();
        assert!(
            matches!(SharedMemory::open(&file.0), Err(E::Foreign { .. })),
            "{len} bytes"
        );
        assert!(matches!(
            SharedMemory::create(&file.0, 1),
            Err(E::AlreadyExists { .. })
        ));
        assert_eq!(SharedMemory::open_foreign(&file.0, len).unwrap().len(), len);
    }
    symlink(file.path(), link.path()).unwrap();
    assert!(matches!(
        SharedMemory::open(&link.0),
        Err(E::Foreign { .. })
    ));
    assert!(matches!(
        SharedMemory::open_foreign(&link.0, 1),
        Err(E::Foreign { .. })
    ));
    fs::create_dir(folder.path()).unwrap();
    let opened = SharedMemory::open(&folder.0);
    SharedMemory::remove_stale();
    fs::remove_dir(folder.path()).unwrap();
    assert!(matches!(opened, Err(E::Foreign { .. })));
    assert!(
        file.exists() && link.exists(),
        "the janitor removed what is not ours"
    );
}

#[test]
fn sizes_are_checked() {
    let name = Name::new("sizes");
    let _memory = SharedMemory::create(&name.0, 5000).unwrap();
    assert_eq!(
        SharedMemory::open_at_least(&name.0, 5000).unwrap().len(),
        5000
    );
    assert_eq!(SharedMemory::open_exact(&name.0, 5000).unwrap().len(), 5000);
    let small = SharedMemory::open_at_least(&name.0, 5001);
    assert!(
        matches!(
            small,
            Err(E::TooSmall {
                needed: 5001,
                found: 5000,
                ..
            })
        ),
        "{small:?}"
    );
    assert!(matches!(
        SharedMemory::open_exact(&name.0, 5001),
        Err(E::TooSmall { .. })
    ));
    assert!(matches!(
        SharedMemory::open_exact(&name.0, 4999),
        Err(E::TooLarge { .. })
    ));
    let foreign = SharedMemory::open_foreign(&name.0, 5000).unwrap();
    assert_eq!(foreign.len(), 5000, "the trailer is not the user's");
    assert!(matches!(
        SharedMemory::open_foreign(&name.0, 5001),
        Err(E::TooSmall { .. })
    ));
}

#[test]
fn names_are_checked() {
    let long = "x".repeat(251);
    for bad in [
        "",
        ".",
        "..",
        "/",
        "/a",
        "a/b",
        "a\0b",
        &long,
        ".procession-1",
    ] {
        for refused in [
            SharedMemory::create(bad, 1),
            SharedMemory::open(bad),
            SharedMemory::open_foreign(bad, 1),
        ] {
            assert!(
                matches!(refused, Err(E::InvalidName { .. })),
                "{bad:?}: {refused:?}"
            );
        }
    }
    for good in [
        "with:colon",
        "new\nline",
        "ünicode",
        ".hidden",
        &"x".repeat(230),
    ] {
        let name = Name::new(good);
        let memory = SharedMemory::create(&name.0, 1).unwrap();
        assert_eq!(memory.name(), Some(&*name.0));
        assert!(name.exists());
    }
}

#[test]
fn segments_without_a_given_name_differ() {
    let made: Vec<_> = (0..20)
        .map(|_| SharedMemory::create_unique(1).unwrap())
        .collect();
    let mut names: Vec<_> = made.iter().flat_map(SharedMemory::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 20);
}

#[test]
fn access_stays_inside() {
    let name = Name::new("bounds");
    let memory = SharedMemory::create(&name.0, 100).unwrap();
    let mut two = [0; 2];
    assert!(memory.read_at(98, &mut two).is_ok());
    assert!(memory.write_at(100, &[]).is_ok());
    for offset in [99, 100, 5000, usize::MAX] {
        assert!(matches!(
            memory.read_at(offset, &mut two),
            Err(E::OutOfBounds { .. })
        ));
        assert!(matches!(
            memory.write_at(offset, &two),
            Err(E::OutOfBounds { .. })
        ));
    }
    assert!(memory.atomic_u32(96).is_some() && memory.atomic_u64(88).is_some());
    for offset in [1, 2, 98, 100, usize::MAX] {
        assert!(memory.atomic_u32(offset).is_none());
    }
    for offset in [4, 96, 100, usize::MAX] {
        assert!(memory.atomic_u64(offset).is_none());
    }
}

// ---- killed creators (5.2)

const ROLE: &str = "PROCESSION_SHARED_MEMORY_ROLE";
const NAME: &str = "PROCESSION_SHARED_MEMORY_NAME";

/// Not a test: what the other process runs.
#[test]
fn role() {
    let (Ok(role), Ok(name)) = (env::var(ROLE), env::var(NAME)) else {
        return;
    };
    match &*role {
        "make" | "make-persistent" | "make-and-wait" => {
            let persist = role == "make-persistent";
            let memory = SharedMemory::builder()
                .persist(persist)
                .create(&name, 1000)
                .unwrap();
            memory.write_at(0, b"before death").unwrap();
            println!("\nmade");
            if role == "make-and-wait" {
                std::io::stdin().read_line(&mut String::new()).unwrap();
            } else {
                Command::new("kill")
                    .args(["-KILL", &id().to_string()])
                    .status()
                    .unwrap();
            }
        }
        "make-again-and-again" => {
            println!("\nmade");
            loop {
                drop(SharedMemory::create(&name, 100_000).unwrap());
            }
        }
        other => panic!("{other}"),
    }
}

fn start_in_role(role: &str, name: &Name) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "role", "--nocapture", "--test-threads=1"])
        .envs([(ROLE, role), (NAME, &*name.0)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    wait_for_line(&mut lines, "made");
    (child, lines)
}

fn wait_for_line(lines: &mut BufReader<ChildStdout>, wanted: &str) {
    let mut line = String::new();
    while line.trim_end() != wanted {
        line.clear();
        assert_ne!(
            lines.read_line(&mut line).unwrap(),
            0,
            "the other process ended without saying {wanted:?}"
        );
    }
}

/// Runs a role whose process makes a segment and is then killed.
fn kill_in_role(role: &str, name: &Name) {
    let (mut child, _lines) = start_in_role(role, name);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn name_of_a_killed_creator_can_be_used_again() {
    let name = Name::new("killed");
    kill_in_role("make", &name);
    let memory = SharedMemory::create(&name.0, 10).unwrap();
    assert_eq!(bytes::<10>(&memory, 0), [0; 10]);
    assert!(memory.is_creator());
}

#[test]
fn janitor_removes_what_killed_creators_left() {
    let (killed, alive, kept) = (
        Name::new("j-killed"),
        Name::new("j-alive"),
        Name::new("j-kept"),
    );
    kill_in_role("make", &killed);
    kill_in_role("make-persistent", &kept);
    let (mut child, _lines) = start_in_role("make-and-wait", &alive);
    SharedMemory::remove_stale();
    assert!(!killed.exists(), "its creator is dead");
    assert!(alive.exists(), "its creator lives");
    assert!(matches!(
        SharedMemory::create(&alive.0, 10),
        Err(E::AlreadyExists { .. })
    ));
    assert_eq!(
        &bytes::<12>(&SharedMemory::open_exact(&alive.0, 1000).unwrap(), 0),
        b"before death"
    );

    assert!(matches!(
        SharedMemory::create(&kept.0, 10),
        Err(E::AlreadyExists { .. })
    ));
    let mut persistent = SharedMemory::open(&kept.0).unwrap();
    assert_eq!(&bytes::<12>(&persistent, 0), b"before death");
    persistent.unlink().unwrap();
    assert!(!kept.exists());

    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!alive.exists(), "its creator removed it");
}

#[test]
fn segment_is_kept_on_request() {
    let name = Name::new("persist");
    let mut memory = SharedMemory::create(&name.0, 10).unwrap();
    memory.persist().unwrap();
    drop(memory);
    SharedMemory::remove_stale();
    SharedMemory::open(&name.0).unwrap().unlink().unwrap();
    assert!(!name.exists());
}

#[test]
fn killed_at_any_moment_nothing_stays_for_good() {
    let name = Name::new("any-moment");
    for round in 0..30 {
        let (mut child, _lines) = start_in_role("make-again-and-again", &name);
        thread::sleep(Duration::from_micros(137 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        SharedMemory::remove_stale();
        let pid = child.id().to_string();
        let left: Vec<_> = fs::read_dir("/dev/shm")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|file| *file == name.0 || file.starts_with(&format!(".procession-{pid}-")))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

// ---- Python

/// Starts the real Python, or says loudly that there is none.
fn python(script: &str, name: &Name) -> Option<(Child, BufReader<ChildStdout>)> {
    let started = Command::new("python3")
        .args(["-c", script, &name.0])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    match started {
        Ok(mut child) => {
            let lines = BufReader::new(child.stdout.take().unwrap());
            Some((child, lines))
        }
        Err(error) => {
            eprintln!("\n*** NOT TESTED: python3 cannot be started ({error}) ***\n");
            assert!(
                env::var_os("CI").is_none(),
                "python3 is needed in CI: {error}"
            );
            None
        }
    }
}

#[test]
fn python_attaches_to_ours() {
    const SCRIPT: &str = r#"
import sys
from multiprocessing import resource_tracker, shared_memory
name = sys.argv[1]
try:
    memory = shared_memory.SharedMemory(name, track=False)
except TypeError:                                   # before 3.13
    memory = shared_memory.SharedMemory(name)
    resource_tracker.unregister("/" + name, "shared_memory")
assert memory.size >= 5000, memory.size
assert bytes(memory.buf[0:5]) == b"Rust!", bytes(memory.buf[0:5])
assert bytes(memory.buf[4999:5000]) == b"!"
memory.buf[100:106] = b"Python"
memory.close()
print("done", flush=True)
"#;
    let name = Name::new("py-attaches");
    let memory = SharedMemory::create(&name.0, 5000).unwrap();
    memory.write_at(0, b"Rust!").unwrap();
    memory.write_at(4999, b"!").unwrap();
    let Some((mut child, mut lines)) = python(SCRIPT, &name) else {
        return;
    };
    wait_for_line(&mut lines, "done");
    assert!(child.wait().unwrap().success());
    assert_eq!(&bytes::<6>(&memory, 100), b"Python");
    assert_eq!(
        SharedMemory::open(&name.0).unwrap().len(),
        5000,
        "Python removed or damaged it"
    );
}

#[test]
fn python_removing_the_name_harms_nobody() {
    const SCRIPT: &str = r#"
import sys
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(sys.argv[1])
memory.buf[0:6] = b"Python"
memory.close()
memory.unlink()
print("done", flush=True)
"#;
    let name = Name::new("py-unlinks");
    let memory = SharedMemory::create(&name.0, 5000).unwrap();
    let Some((mut child, mut lines)) = python(SCRIPT, &name) else {
        return;
    };
    wait_for_line(&mut lines, "done");
    assert!(child.wait().unwrap().success());
    assert_eq!(&bytes::<6>(&memory, 0), b"Python");
    let _stranger = SharedMemory::create(&name.0, 10).unwrap();
    drop(memory);
    assert!(name.exists());
}

#[test]
fn we_attach_to_pythons() {
    const SCRIPT: &str = r#"
import sys
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(sys.argv[1], create=True, size=5000)
try:
    memory.buf[0:6] = b"Python"
    print("made", flush=True)
    sys.stdin.readline()
    assert bytes(memory.buf[4996:5000]) == b"Rust", bytes(memory.buf[4996:5000])
    again = shared_memory.SharedMemory(sys.argv[1])  # nobody removed it
    again.close()
    print("done", flush=True)
finally:
    memory.close()
    memory.unlink()
"#;
    let name = Name::new("py-creates");
    let Some((mut child, mut lines)) = python(SCRIPT, &name) else {
        return;
    };
    wait_for_line(&mut lines, "made");
    assert!(matches!(
        SharedMemory::open(&name.0),
        Err(E::Foreign { .. })
    ));
    assert!(matches!(
        SharedMemory::create(&name.0, 1),
        Err(E::AlreadyExists { .. })
    ));
    assert!(matches!(
        SharedMemory::open_foreign(&name.0, 1 << 20),
        Err(E::TooSmall { .. })
    ));
    let mut memory = SharedMemory::open_foreign(&name.0, 5000).unwrap();
    assert_eq!(&bytes::<6>(&memory, 0), b"Python");
    memory.write_at(4996, b"Rust").unwrap();
    assert!(matches!(memory.unlink(), Err(E::NotCreator { .. })));
    let sent: SharedMemory =
        postcard::from_bytes(&postcard::to_allocvec(&memory).unwrap()).unwrap();
    assert_eq!(&bytes::<4>(&sent, 4996), b"Rust");
    drop((memory, sent));
    SharedMemory::remove_stale();
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    wait_for_line(&mut lines, "done");
    assert!(child.wait().unwrap().success());
}

#[test]
fn python_in_the_middle_of_making_one_is_waited_for() {
    const SCRIPT: &str = r#"
import sys
from multiprocessing import shared_memory
for i in range(300):
    memory = shared_memory.SharedMemory(sys.argv[1], create=True, size=5000)
    memory.close()
    memory.unlink()
print("done", flush=True)
"#;
    let name = Name::new("py-race");
    let Some((mut child, mut lines)) = python(SCRIPT, &name) else {
        return;
    };
    while child.try_wait().unwrap().is_none() {
        match SharedMemory::open_foreign(&name.0, 5000) {
            Ok(memory) => assert_eq!(memory.len(), 5000),
            Err(E::Missing { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    wait_for_line(&mut lines, "done");
}
