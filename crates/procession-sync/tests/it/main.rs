//! The tests of the sync layer across processes, in a program that calls `init()` as it should.

mod bad_input;
mod barrier;
mod condition;
mod condition_deaths;
mod event;
mod exclusive;
mod fairness;
mod handles;
mod inspect;
mod joinable;
mod lifetimes;
mod lock;
mod once;
mod parts;
mod queue;
mod queue_close;
mod queue_death;
mod queue_ends;
mod queue_ends_sent;
mod queue_memory;
mod queue_messages;
mod rwlock;
mod semaphore;
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::process::ExitCode;

use procession_testkit::{Case, Runner, birth, ledger, runner};

fn main() -> ExitCode {
    if ledger::open() {
        birth::obey();
    }
    procession_primitives::init();
    if let Some(code) = runner::divert(&[]) {
        return code;
    }
    let mut cases = exclusive::cases();
    cases.extend(lock::cases());
    cases.extend(rwlock::cases());
    cases.extend(semaphore::cases());
    cases.extend(condition::cases());
    cases.extend(condition_deaths::cases());
    cases.extend(event::cases());
    cases.extend(barrier::cases());
    cases.extend(once::cases());
    cases.extend(values::cases());
    cases.extend(parts::cases());
    cases.extend(handles::cases());
    cases.extend(bad_input::cases());
    cases.extend(lifetimes::cases());
    cases.extend(inspect::cases());
    cases.extend(fairness::cases());
    cases.extend(queue::cases());
    cases.extend(queue_close::cases());
    cases.extend(queue_messages::cases());
    cases.extend(queue_memory::cases());
    cases.extend(queue_ends::cases());
    cases.extend(queue_ends_sent::cases());
    cases.extend(queue_death::cases());
    cases.extend(joinable::cases());
    cases.push(Case::new("storm::five_seconds", || support::storm::blow(5)));
    Runner::new(cases).with_ledger().run()
}
