//! How processes end, and how that is told.

use procession_primitives::{Phase, ProcessError, StartMethod};
use procession_testkit::gate::{Bell, Ear, ring};
use procession_testkit::os;
use rustix::process::Signal;

use super::{death, quiet, with};

pub(super) fn panics_are_values(method: StartMethod) {
    const LINE: u32 = line!() + 2;
    fn shout(word: Option<String>) {
        let word = word.unwrap_or_else(|| panic!("no word"));
        if word.is_empty() {
            std::panic::panic_any(5);
        }
        panic!("{word}, she said");
    }
    let outcome = |word: Option<&str>| {
        let process = quiet(method).spawn(shout, word.map(str::to_owned)).unwrap();
        assert_eq!(process.wait().code(), Some(101));
        assert_eq!(process.exitcode(), Some(101));
        match process.join() {
            Err(ProcessError::Panicked(panic)) => panic,
            other => panic!("no panic: {other:?}"),
        }
    };
    let first = outcome(None);
    assert_eq!(first.message(), "no word");
    assert_eq!(first.location().file(), file!());
    assert_eq!(first.location().line(), LINE);
    assert_eq!(outcome(Some("so what")).message(), "so what, she said");
    assert_eq!(outcome(Some("")).message(), "Box<dyn Any>");
}

pub(super) fn exit_codes(method: StartMethod) {
    for code in [0, 1, 7, 255] {
        let process = with(method)
            .spawn(|code| -> () { std::process::exit(code) }, code)
            .unwrap();
        let status = process.wait();
        assert_eq!((status.code(), status.signal()), (Some(code), None));
        assert_eq!(status.success(), code == 0);
        assert_eq!(process.exitcode(), Some(code));
        let death = death(process.join());
        assert_eq!((death.exit_code(), death.signal()), (Some(code), None));
        assert_eq!(death.phase(), Phase::Running);

        let process = with(method)
            .spawn(|code| -> () { os::exit_at_once(code) }, code)
            .unwrap();
        let pid = process.pid();
        let death = self::death(process.join());
        assert_eq!(
            (death.exit_code(), death.phase()),
            (Some(code), Phase::Running)
        );
        assert_eq!(death.pid(), pid);
    }
}

pub(super) fn signals_raised(method: StartMethod) {
    let signals = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGKILL,
        libc::SIGUSR1,
        libc::SIGSEGV,
        libc::SIGPIPE,
        libc::SIGALRM,
        libc::SIGTERM,
        libc::SIGXCPU,
        libc::SIGSYS,
        libc::SIGRTMIN(),
    ];
    let started: Vec<_> = signals
        .map(|signal| (signal, with(method).spawn(os::raise, signal).unwrap()))
        .into();
    for (signal, process) in started {
        assert_eq!(process.wait().signal().map(Into::into), Some(signal));
        assert_eq!(process.exitcode(), Some(-signal));
        let death = death(process.join());
        assert_eq!((death.signal(), death.exit_code()), (Some(signal), None));
        assert_eq!(death.phase(), Phase::Running);
        assert_ne!(death.out_of_memory(), Some(true));
    }
}

pub(super) fn a_crash(method: StartMethod) {
    let process = quiet(method).spawn(|()| os::crash(), ()).unwrap();
    let death = death(process.join());
    assert_eq!(
        (death.signal(), death.phase()),
        (Some(libc::SIGSEGV), Phase::Running)
    );
}

pub(super) fn an_abort(method: StartMethod) {
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            panic!("once more");
        }
    }
    let aborted = quiet(method)
        .spawn(|()| -> () { std::process::abort() }, ())
        .unwrap();
    assert_eq!(death(aborted.join()).signal(), Some(libc::SIGABRT));
    let double = quiet(method).spawn(
        |()| {
            let _again = Again;
            panic!("once");
        },
        (),
    );
    assert_eq!(
        death::<()>(double.unwrap().join()).signal(),
        Some(libc::SIGABRT)
    );
}

fn ring_and_sleep(bell: Bell) {
    ring(bell);
    os::sleep_for_ever();
}

pub(super) fn signals_from_outside(method: StartMethod) {
    let mut ear = Ear::new();
    for signal in [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP] {
        let process = with(method).spawn(ring_and_sleep, ear.bell()).unwrap();
        ear.hear(1);
        assert!(process.is_alive());
        match signal {
            Signal::KILL => process.kill().unwrap(),
            Signal::TERM => process.terminate().unwrap(),
            Signal::INT => process.interrupt().unwrap(),
            other => os::send(process.pid(), other),
        }
        assert_eq!(process.wait().exitcode(), -signal.as_raw());
        let death = death(process.join());
        assert_eq!(death.signal(), Some(signal.as_raw()));
        assert_eq!(death.phase(), Phase::Running);
    }
}

pub(super) fn the_end_is_final(method: StartMethod) {
    let process = with(method).spawn(|()| 5, ()).unwrap();
    assert!(process.wait().success());
    // To a dead process, a signal is nothing, not an error and not for its number's next owner.
    process.terminate().unwrap();
    process.kill().unwrap();
    process.interrupt().unwrap();
    assert!(!process.is_alive());
    assert_eq!(process.exitcode(), Some(0));
    assert_eq!(process.wait().code(), Some(0));
    assert_eq!(process.join().unwrap(), 5);
}
