//! Thumbnails of a folder of pictures, of which three would end a program that decodes them itself.
//!
//! One picture is cut off: the decoder returns an error. One makes the decoder read through a null
//! pointer, as decoders written in C have done: the process gets `SIGSEGV`. One sends the decoder
//! into an endless loop. In a pool each of them costs itself: [`map_results`] has one outcome per
//! picture, [`timeout`] ends the endless one, and the pool replaces the workers that died.
//!
//! `cargo run --release -p procession-pool --example thumbnails`
//!
//! [`map_results`]: procession_pool::View::map_results
//! [`timeout`]: procession_pool::View::timeout
//!
//! # Safety
//!
//! [`decode`] breaks the rules of C on purpose, to have the crash that the example is about.
#![allow(unsafe_code, reason = "crashes as a broken decoder does")]

use std::ffi::c_char;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, hint, ptr};

use image::{DynamicImage, RgbImage};
use procession_pool::{Pool, Result, TaskError, init};

/// Thumbnails are at most this wide and high.
const SIDE: u32 = 64;

/// Runs in a worker. What can go wrong in good order is an ordinary value: the inner `Result`.
fn thumbnail((source, target): (PathBuf, PathBuf)) -> Result<(u32, u32), String> {
    let picture = decode(&source)?;
    let small = picture.thumbnail(SIDE, SIDE);
    small.save(&target).map_err(|error| error.to_string())?;
    Ok((picture.width(), picture.height()))
}

/// Stands for a decoder that has bugs: two names find them.
fn decode(path: &Path) -> Result<DynamicImage, String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if name.ends_with("crash") {
        let header: *const c_char = hint::black_box(ptr::null());
        // SAFETY: none. This is the bug: a header that is not there is read all the same, and the
        // system answers with SIGSEGV.
        let length = unsafe { libc::strlen(header) };
        return Err(format!("a header of {length} bytes"));
    }
    while name.ends_with("hang") {
        hint::spin_loop(); // a length of zero: the decoder never comes to the next block
    }
    image::open(path).map_err(|error| error.to_string())
}

/// Writes 48 pictures of different sizes to `folder`, and three bad ones among them.
fn draw_pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for n in 0..48_u32 {
        let kind = match n {
            11 => "truncated.png",
            23 => "crash.jpg",
            37 => "hang.png",
            _ if n % 2 == 0 => "fine.png",
            _ => "fine.jpg",
        };
        let path = folder.join(format!("{n:02}-{kind}"));
        let (width, height) = (80 + 17 * (n % 11), 60 + 23 * (n % 7));
        let picture = RgbImage::from_fn(width, height, |x, y| {
            let shade = |value: u32, of: u32| (255 * value / of) as u8;
            image::Rgb([shade(x, width), shade(y, height), (5 * n) as u8])
        });
        picture.save(&path)?;
        if kind.starts_with("truncated") {
            let bytes = fs::read(&path)?;
            fs::write(&path, &bytes[..bytes.len() / 2])?;
        }
        paths.push(path);
    }
    Ok(paths)
}

fn main() -> Result<()> {
    init();
    let folder = tempfile::tempdir()?; // removed at the end, with all that is in it
    let pictures = draw_pictures(folder.path())?;
    let small = folder.path().join("small");
    fs::create_dir(&small)?;
    let target = |picture: &PathBuf| small.join(picture.file_name().unwrap_or_default());
    let jobs = pictures.iter().map(|path| (path.clone(), target(path)));

    let pool = Pool::new()?;
    let start = Instant::now();
    let outcomes = pool
        .timeout(Duration::from_secs(1)) // per picture
        .map_results(thumbnail, jobs);
    let elapsed = start.elapsed();

    let (mut made, mut lost) = (Vec::new(), Vec::new());
    for (picture, outcome) in pictures.iter().zip(&outcomes) {
        let name = picture.file_name().unwrap_or_default().to_string_lossy();
        let why = match outcome {
            Ok(Ok(before)) => {
                let after = image::image_dimensions(target(picture))?;
                assert!(after.0.max(after.1) == SIDE, "{name}: {after:?}");
                made.push((before, after));
                continue;
            }
            Ok(Err(error)) => format!("cannot be decoded: {error}"),
            Err(TaskError::WorkerDied(death)) => {
                let signal = death.signal().unwrap_or_default();
                format!("the decoder died of signal {signal}, {}", death.phase())
            }
            Err(TaskError::TimedOut(limit)) => format!("stopped after {limit:?}"),
            Err(error) => error.to_string(),
        };
        println!("{name}: {why}");
        assert!(!target(picture).exists());
        lost.push(name);
    }
    let workers = pool.stats().workers;
    let replaced = workers.iter().map(|worker| worker.starts - 1).sum::<u64>();
    println!(
        "{} of {} pictures lost, {replaced} workers replaced, {elapsed:.1?}",
        lost.len(),
        pictures.len()
    );
    for (before, after) in made.iter().step_by(15) {
        println!("a thumbnail: {before:?} -> {after:?}");
    }
    assert_eq!(lost, ["11-truncated.png", "23-crash.jpg", "37-hang.png"]);
    assert_eq!(replaced, 2); // the error cost nobody his life
    Ok(())
}
