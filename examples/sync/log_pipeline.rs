//! Readers parse a web server's log, aggregators count; a reader is killed and nothing is lost.
//!
//! Chunks of the log go to the readers in one queue, what they have parsed to the aggregators in
//! another one, and those add to one report in shared memory. The queues are joinable: `join` says
//! if a reader died with a chunk in hand. Chunks that nobody has counted are done again.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use procession_primitives::{Process, SendFd};
use procession_sync::{JoinError, JoinableQueue, Mutex, Result, init};

const CHUNKS: usize = 200;
const LINES: usize = 2000; // of a chunk
const PATHS: [&str; 5] = ["/", "/login", "/search", "/cart", "/health"];

type Task = (usize, u64, usize); // number of the chunk, its start and length in the file
type Batch = (usize, Vec<(u16, u8)>); // number of the chunk, status and path of its requests
type Queues = (JoinableQueue<Task>, JoinableQueue<Batch>);
type Report = [u64; DONE + CHUNKS]; // requests by status and path, and which chunks are counted
const DONE: usize = 600 * PATHS.len();

/// `10.1.2.3 [1700042] "GET /cart?id=7 HTTP/1.1" 200`
fn parse(line: &str) -> Option<(u16, u8)> {
    let mut fields = line.split(' ');
    fields.next()?.parse::<Ipv4Addr>().ok()?;
    let time = fields.next()?.strip_prefix('[')?.strip_suffix(']')?;
    time.parse::<u64>().ok()?;
    let path = fields.nth(1)?.split('?').next()?;
    let path = PATHS.iter().position(|known| path == *known)?;
    let status: u16 = fields.nth(1)?.parse().ok()?;
    (status < 600).then_some((status, path as u8))
}

fn read(log: &File, (number, start, len): Task) -> Batch {
    let mut text = vec![0; len];
    log.read_exact_at(&mut text, start).expect("all of the log");
    let text = String::from_utf8_lossy(&text);
    (number, text.lines().filter_map(parse).collect())
}

fn add(report: &mut Report, (number, requests): Batch) {
    if std::mem::replace(&mut report[DONE + number], 1) == 1 {
        return; // its reader died after it had sent the batch, and before it said so
    }
    for (status, path) in requests {
        report[usize::from(status) * PATHS.len() + usize::from(path)] += 1;
    }
}

fn reader((log, (tasks, batches)): (SendFd<File>, Queues)) {
    while let Ok(task) = tasks.get() {
        batches.put(read(log.get_ref(), task)).expect("it is open");
        tasks.task_done().expect("it was ours");
    }
}

fn aggregator((batches, report): (JoinableQueue<Batch>, Mutex<Report>)) {
    while let Ok(batch) = batches.get() {
        add(&mut report.lock().unwrap(), batch);
        batches.task_done().expect("it was ours");
    }
}

fn parallel(log: &File, chunks: &[Task], kill_one: bool) -> Result<Report> {
    let queues: Queues = (JoinableQueue::new()?, JoinableQueue::bounded(16)?);
    let (tasks, batches) = &queues;
    let report = Mutex::new([0; DONE + CHUNKS])?;
    tasks.put_many(chunks.to_vec())?;
    let (mut readers, mut aggregators) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let log = SendFd::new(log.try_clone()?);
        readers.push(Process::spawn(reader, (log, queues.clone()))?);
        aggregators.push(Process::spawn(
            aggregator,
            (batches.clone(), report.clone()),
        )?);
    }
    if kill_one {
        while tasks.len() > CHUNKS / 2 {
            std::thread::sleep(Duration::from_micros(100));
        }
        readers[0].kill()?;
    }
    while let Err(error) = tasks.join() {
        assert_eq!(error, JoinError::Abandoned);
        batches.join()?; // what was sent is counted now
        let (mut left, done) = (chunks.to_vec(), *report.lock().unwrap());
        left.retain(|task| done[DONE + task.0] == 0);
        println!("{error}: {} again", left.len());
        tasks.put_many(left)?;
    }
    batches.join()?;
    tasks.close()?; // now all end
    batches.close()?;
    for aggregator in aggregators {
        aggregator.join()?;
    }
    Ok(*report.lock().unwrap())
}

/// A log that has no name any more, so nobody has to remove it.
fn generate() -> Result<(File, Vec<Task>)> {
    let (mut text, mut chunks, mut seed) = (String::new(), Vec::new(), 1_u64);
    for number in 0..CHUNKS {
        let start = text.len();
        for n in 0..LINES {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            let ip = Ipv4Addr::from_bits((seed >> 32) as u32);
            let path = PATHS[(seed >> 40) as usize % PATHS.len()];
            let status = [200, 200, 200, 304, 404, 500][(seed >> 50) as usize % 6];
            writeln!(
                text,
                "{ip} [17000{n}] \"GET {path}?id={n} HTTP/1.1\" {status}"
            )?;
        }
        chunks.push((number, start as u64, text.len() - start));
    }
    let path = std::env::temp_dir().join(format!("log_pipeline-{}", std::process::id()));
    fs::write(&path, text)?;
    let log = File::open(&path)?;
    fs::remove_file(path)?;
    Ok((log, chunks))
}

fn main() -> Result<()> {
    init();
    let (log, chunks) = generate()?;
    let rate = |begun: Instant| (CHUNKS * LINES) as f64 / begun.elapsed().as_secs_f64() / 1e6;
    let (mut serial, begun) = ([0; DONE + CHUNKS], Instant::now());
    for task in &chunks {
        add(&mut serial, read(&log, *task));
    }
    println!("serial:   {:.1} million lines/s", rate(begun));
    let begun = Instant::now();
    assert_eq!(parallel(&log, &chunks, false)?, serial);
    println!("parallel: {:.1} million lines/s", rate(begun));
    assert_eq!(parallel(&log, &chunks, true)?, serial);

    println!("status  {PATHS:>9?}");
    for (status, counts) in serial[..DONE].chunks(PATHS.len()).enumerate() {
        if counts.iter().any(|&count| count > 0) {
            println!("{status:6}  {counts:>9?}");
        }
    }
    assert_eq!(serial[..DONE].iter().sum::<u64>(), (CHUNKS * LINES) as u64);
    Ok(())
}
