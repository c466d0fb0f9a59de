//! Fetches pages from a server of which some answer late, some broken and some never.
//!
//! The workers mostly wait for the network, so there are more of them than CPUs. [`imap_unordered`]
//! hands out each page as soon as it is there. A page that takes too long is ended by [`timeout`],
//! wherever its client hangs. A connection that breaks is tried again, each time a little later:
//! the client panics, which is how a task says that this attempt has failed, and [`retry_if`] says
//! that panics alone are worth another attempt. "Not found" is an answer, and a plain value.
//!
//! The server is a thread of this program, on a free port of 127.0.0.1.
//!
//! `cargo run --release -p procession-pool --example fetch_pages`
//!
//! [`imap_unordered`]: procession_pool::View::imap_unordered
//! [`timeout`]: procession_pool::View::timeout
//! [`retry_if`]: procession_pool::View::retry_if

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use procession_pool::{Pool, Result, TaskError, init};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Page {
    path: String,
    status: u16,
    bytes: usize,
}

/// Runs in a worker: one page.
fn fetch((server, path): (SocketAddr, String)) -> Page {
    match get(server, &path) {
        Ok((status, body)) => Page {
            bytes: body.len(),
            path,
            status,
        },
        Err(error) => panic!("{path}: {error}"),
    }
}

/// A client as small as it can be: status and body.
fn get(server: SocketAddr, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(server)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;

    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let body = answer.split_off(end.ok_or_else(|| wrong("no head"))? + 4);
    let head = String::from_utf8_lossy(&answer);
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    if length.and_then(|length| length.parse().ok()) != Some(body.len()) {
        return Err(wrong("the page is cut off"));
    }
    Ok((status.ok_or_else(|| wrong("no status"))?, body))
}

/// Serves pages until the program ends; its address.
fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let asked: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let asked = Arc::clone(&asked);
            thread::spawn(move || answer(stream, &asked));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, asked: &Mutex<HashMap<String, u32>>) -> io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let request = String::from_utf8_lossy(&request);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let mut counts = asked.lock().unwrap_or_else(PoisonError::into_inner);
    let count = counts.entry(path.to_owned()).or_default();
    *count += 1;
    let times = *count;
    drop(counts);

    let body = path.repeat(100);
    let length = body.len();
    match path.split('/').nth(1) {
        // Until the client gives up: its death closes the connection.
        Some("silent") => return stream.read(&mut buffer).map(drop),
        Some("slow") => thread::sleep(Duration::from_millis(100)),
        Some("shaky") if times < 3 => {
            return write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhalf"
            );
        }
        Some("broken") => return Ok(()), // closes without a word
        Some("gone") => {
            return write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            );
        }
        _ => {}
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn main() -> Result<()> {
    init();
    let server = serve()?;
    let mut paths: Vec<String> = (0..40).map(|n| format!("/page/{n}")).collect();
    paths.extend((0..10).map(|n| format!("/slow/{n}")));
    paths.extend(["/shaky/1", "/shaky/2", "/broken", "/gone", "/silent"].map(String::from));
    let count = paths.len();

    let pool = Pool::with_workers(8)?;
    let tuned = pool
        .chunksize(1) // an item that waits keeps no other one waiting
        .timeout(Duration::from_millis(800))
        .retries(2)
        .retry_if(|error| matches!(error, TaskError::Panicked(_)))
        .backoff(Duration::from_millis(10));
    let start = Instant::now();
    let (mut pages, mut gone, mut failed) = (0, 0, Vec::new());
    for outcome in tuned.imap_unordered(fetch, paths.into_iter().map(|path| (server, path))) {
        let at = start.elapsed().as_millis();
        match outcome {
            Ok(page) if page.status == 200 => {
                pages += 1;
                println!("{at:>5} ms  {} bytes of {}", page.bytes, page.path);
            }
            Ok(page) => {
                gone += 1;
                println!("{at:>5} ms  status {} of {}", page.status, page.path);
            }
            Err(error) => {
                println!("{at:>5} ms  FAILED: {error}");
                failed.push(error);
            }
        }
    }
    let retries = pool.stats().retries;
    println!(
        "{pages} pages of {count}, {gone} gone, {} failed, {retries} retries",
        failed.len()
    );
    assert_eq!((pages, gone, failed.len(), retries), (52, 1, 2, 6));
    assert!(
        failed
            .iter()
            .any(|error| matches!(error, TaskError::TimedOut(_)))
    );
    Ok(())
}
