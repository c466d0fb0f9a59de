//! Fetches pages from a server of which some answer late, some broken and some never.
//!
//! The workers mostly wait for the network, so there are more of them than CPUs. [`imap_unordered`]
//! hands out each page as soon as it is there, and [`indexed`] says which one it is. A page that
//! takes too long is ended by [`timeout`], wherever its client hangs. A connection that breaks is
//! tried again, each time a little later: the client panics, which is how a task says that this
//! attempt has failed, and [`retry_if`] says that panics alone are worth another attempt. "Not
//! found" is an answer, and a plain value.
//!
//! The server is a thread of this program, on a free port of 127.0.0.1.
//!
//! `cargo run --release -p procession-pool --example fetch_pages`
//!
//! [`imap_unordered`]: procession_pool::View::imap_unordered
//! [`indexed`]: procession_pool::Imap::indexed
//! [`timeout`]: procession_pool::View::timeout
//! [`retry_if`]: procession_pool::View::retry_if

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use procession_pool::{Pool, Result, TaskError, init};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Page {
    status: u16,
    bytes: usize,
}

/// Runs in a worker: one page.
fn fetch((server, path): (SocketAddr, String)) -> Page {
    match get(server, &path) {
        Ok((status, bytes)) => Page { status, bytes },
        Err(error) => panic!("{error}"),
    }
}

/// A client as small as it can be: the status, and how long the page is.
fn get(server: SocketAddr, path: &str) -> io::Result<(u16, usize)> {
    let mut stream = TcpStream::connect(server)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;

    let answer = String::from_utf8_lossy(&answer);
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| wrong("no head"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let length = head
        .split_once("Content-Length: ")
        .and_then(|(_, rest)| rest.lines().next()?.parse().ok());
    if length != Some(body.len()) {
        return Err(wrong("the page is cut off"));
    }
    Ok((status.ok_or_else(|| wrong("no status"))?, body.len()))
}

/// Serves pages until the program ends; its address.
fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(|| answer(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    /// How often the page was asked for that breaks at first.
    static SHAKY: AtomicU32 = AtomicU32::new(0);

    let lines = BufReader::new(&stream).lines().map_while(io::Result::ok);
    let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = request.first().and_then(|line| line.split(' ').nth(1));
    let path = path.unwrap_or_default();
    let page = path.repeat(100);
    let (status, length, body) = match path.split('/').nth(1) {
        // Until the client gives up: its death closes the connection.
        Some("silent") => return io::copy(&mut stream, &mut io::sink()).map(drop),
        Some("broken") => return Ok(()),
        Some("shaky") if SHAKY.fetch_add(1, Relaxed) < 2 => ("200 OK", page.len(), "half"),
        Some("gone") => ("404 Not Found", 0, ""),
        Some("slow") => {
            thread::sleep(Duration::from_millis(100));
            ("200 OK", page.len(), page.as_str())
        }
        _ => ("200 OK", page.len(), page.as_str()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn main() -> Result<()> {
    init();
    let server = serve()?;
    let mut paths: Vec<String> = (0..16).map(|n| format!("/page/{n}")).collect();
    paths.extend((0..10).map(|n| format!("/slow/{n}")));
    paths.extend(["/shaky", "/broken", "/gone", "/silent"].map(String::from));

    let pool = Pool::with_workers(8)?;
    let tuned = pool
        .chunksize(1) // an item that waits keeps no other one waiting
        .timeout(Duration::from_secs(1))
        .retries(2)
        .retry_if(|error| matches!(error, TaskError::Panicked(_)))
        .backoff(Duration::from_millis(10));
    let start = Instant::now();
    let (mut pages, mut gone, mut failed) = (0, 0, Vec::new());
    let items = paths.iter().map(|path| (server, path.clone()));
    for (item, outcome) in tuned.imap_unordered(fetch, items).indexed() {
        let path = &paths[item as usize];
        print!("{:>5} ms  {path}: ", start.elapsed().as_millis());
        match outcome {
            Ok(page) if page.status == 200 => {
                pages += 1;
                println!("{} bytes", page.bytes);
            }
            Ok(page) => {
                gone += 1;
                println!("status {}", page.status);
            }
            Err(error) => {
                println!("FAILED: {error}");
                failed.push((path.as_str(), error));
            }
        }
    }
    let retries = pool.stats().retries;
    let lost = failed.len();
    println!(
        "{pages} pages of {}, {gone} gone, {lost} failed, {retries} retries",
        paths.len()
    );
    assert_eq!((pages, gone, lost, retries), (27, 1, 2, 4));
    let timed_out = |error: &TaskError| matches!(error, TaskError::TimedOut(_));
    for (path, error) in failed {
        assert_eq!(timed_out(&error), path == "/silent");
    }
    Ok(())
}
