//! One program for processes, threads and a debugger: the executor is chosen when it runs.
//!
//! `any_executor threads` and `any_executor inline` do the same as without an argument.

use std::env;

use procession_executor::{
    Executor, InlineExecutor, ProcessPoolExecutor, Result, ReturnWhen, ThreadPoolExecutor, init,
    wait,
};

fn word_count(text: String) -> usize {
    text.split_whitespace().count()
}

fn count(executor: &impl Executor) -> Result<()> {
    let texts = ["to be", "or not to be", "that is the question"];
    let futures = texts.map(|text| executor.submit(word_count, text.to_owned()));
    let (done, _) = wait(futures, ReturnWhen::AllCompleted);
    for future in done {
        println!("{}", future.result()?);
    }
    Ok(())
}

fn main() -> Result<()> {
    init();
    match env::args().nth(1).as_deref() {
        Some("threads") => count(&ThreadPoolExecutor::new()?),
        Some("inline") => count(&InlineExecutor::new()),
        _ => count(&ProcessPoolExecutor::new()?),
    }
}
