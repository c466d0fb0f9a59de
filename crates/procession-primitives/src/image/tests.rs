//! Tests of naming and finding code within one process.

#![allow(unsafe_code, reason = "calls what it has found")]

use super::*;
use std::hint::black_box;

fn double(x: u64) -> u64 {
    x * 2
}

/// Same code as `double`, so that release builds may merge the two.
fn twice(x: u64) -> u64 {
    x * 2
}

fn add<T: std::ops::Add<Output = T> + Copy>(x: T) -> T {
    x + x
}

fn address_of(f: fn(u64) -> u64) -> usize {
    f as *const () as usize
}

fn round_trip(f: fn(u64) -> u64) -> fn(u64) -> u64 {
    let code = CodeAddress::of(address_of(f)).unwrap();
    let sent = CodeAddress::from_words(code.to_words());
    assert_eq!(sent, code);
    let address = sent.resolve().unwrap();
    assert_eq!(address, address_of(f));
    // SAFETY: the address was named by `of` from a value of this type, in this process.
    unsafe { fn_from_address(address) }
}

#[test]
fn functions_of_the_program_round_trip() {
    assert_eq!(round_trip(double)(black_box(21)), 42);
    assert_eq!(round_trip(|x| x + 3)(black_box(4)), 7);
    assert_eq!(round_trip(add::<u64>)(black_box(8)), 16);
    assert_eq!(round_trip(u64::swap_bytes)(black_box(1)), 1 << 56);
    assert_eq!(round_trip(u64::isqrt)(black_box(81)), 9);
}

#[test]
fn own_functions_are_in_the_main_image() {
    for f in [double, |x| x ^ 1, add::<u64>] {
        assert_eq!(CodeAddress::of(address_of(f)).unwrap().image, MAIN_IMAGE);
    }
}

#[test]
fn merged_functions_give_the_same_results() {
    for f in [double, twice, |x| x * 2, add::<u64>] {
        assert_eq!(round_trip(f)(black_box(7)), 14);
    }
}

#[test]
fn pointers_with_other_signatures_come_back() {
    let to_text: fn(u8, &str) -> String = |x, s| format!("{x}{s}");
    let code = CodeAddress::of(to_text as *const () as usize).unwrap();
    // SAFETY: named by `of` from a value of this type, in this process.
    let found: fn(u8, &str) -> String = unsafe { fn_from_address(code.resolve().unwrap()) };
    assert_eq!(found(7, "x"), "7x");
}

#[test]
fn what_is_no_code_is_refused() {
    static CONSTANT: [u64; 4] = [1, 2, 3, 4];
    static CHANGING: Mutex<u64> = Mutex::new(0);
    let on_heap = Box::new([0u8; 64]);
    let on_stack = 0u8;
    let addresses = [
        0,
        1,
        usize::MAX,
        (&raw const CONSTANT).addr(),
        (&raw const CHANGING).addr(),
        (&raw const *on_heap).addr(),
        (&raw const on_stack).addr(),
    ];
    for address in addresses {
        let result = CodeAddress::of(address);
        assert_eq!(result, Err(CodeError::NotInImage), "{address:#x}");
    }
}

#[test]
fn code_made_at_run_time_is_refused() {
    let (length, protection) = (4096, libc::PROT_READ | libc::PROT_EXEC);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at a place of the kernel's choice.
    let page = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    assert_eq!(CodeAddress::of(page.addr()), Err(CodeError::NotInImage));
    // SAFETY: mapped above, and nothing points into it.
    unsafe { libc::munmap(page, length) };
}

#[test]
fn the_vdso_is_refused() {
    let mut vdso_code = Vec::new();
    // SAFETY: has no precondition.
    let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
    walk(&mut |info, headers| {
        if info.dlpi_addr as usize == vdso {
            let image = Image::read(info, headers);
            vdso_code.extend(image.code.iter().map(|range| image.bias + range.start));
        }
        ControlFlow::Continue(())
    });
    for address in vdso_code {
        assert_eq!(CodeAddress::of(address), Err(CodeError::NotInImage));
    }
}

#[test]
fn forged_offsets_are_refused() {
    let main = main_image();
    let end = main.code.iter().map(|range| range.end).max().unwrap() as u64;
    assert!(CodeAddress::from_words([0, end - 1]).resolve().is_ok());
    let wraps_to_null = (main.bias as u64).wrapping_neg();
    for offset in [end, wraps_to_null, u64::MAX - 1, u64::MAX] {
        let build = MAIN_IMAGE;
        let result = CodeAddress::from_words([0, offset]).resolve();
        assert_eq!(result, Err(CodeError::OutOfSegment { build, offset }));
    }
    let start = main.code.iter().map(|range| range.start).min().unwrap();
    if let Some(before) = start.checked_sub(1) {
        let result = CodeAddress::from_words([0, before as u64]).resolve();
        assert!(result.is_err(), "{result:?}");
    }
}

#[test]
fn an_unknown_image_is_refused() {
    let known: Vec<_> = Libraries::read()
        .images
        .iter()
        .filter_map(Image::number)
        .collect();
    let build = (1..).find(|number| !known.contains(number)).unwrap();
    let result = CodeAddress::from_words([u64::from(build), 0x1000]).resolve();
    assert_eq!(result, Err(CodeError::UnknownImage { build }));
}

#[test]
fn reserved_bits_are_refused() {
    let [head, offset] = CodeAddress::of(address_of(double)).unwrap().to_words();
    let forged = CodeAddress::from_words([head | 1 << 32, offset]);
    assert_eq!(forged.to_words(), [head | 1 << 32, offset]);
    let build = MAIN_IMAGE;
    assert_eq!(forged.resolve(), Err(CodeError::UnknownImage { build }));
}

#[test]
fn a_function_of_libc_round_trips() {
    let address = libc::getpid as *const () as usize;
    let code = CodeAddress::of(address).unwrap();
    assert_eq!(code.resolve(), Ok(address));
    // SAFETY: named by `of` from a value of this type, in this process.
    let getpid: unsafe extern "C" fn() -> i32 = unsafe { fn_from_address(address) };
    // SAFETY: has no precondition.
    let pid = unsafe { getpid() };
    assert_eq!(pid.unsigned_abs(), std::process::id());
}

#[test]
#[cfg(not(target_feature = "crt-static"))]
fn a_library_is_named_by_its_build() {
    // Nothing here takes this function's address: that could make the loader find the program's
    // own entry for it instead.
    let name = c"getsid".as_ptr();
    // SAFETY: the name is a C string.
    let getsid = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name) }.addr();
    let code = CodeAddress::of(getsid).unwrap();
    assert_ne!(code.image, MAIN_IMAGE);
    assert_eq!(code.resolve(), Ok(getsid));

    let build = code.image;
    for offset in [u64::MAX, u64::MAX - getsid as u64, 1 << 40] {
        let result = CodeAddress::from_words([u64::from(build), offset]).resolve();
        assert_eq!(result, Err(CodeError::OutOfSegment { build, offset }));
    }
}

#[test]
#[cfg(not(target_feature = "crt-static"))]
fn a_library_is_found_while_it_is_loaded() {
    let name = c"libBrokenLocale.so.1".as_ptr();
    // Fills the kept list before the library comes.
    assert!(CodeAddress::of(1).is_err());
    // SAFETY: the name is a C string; the library has no constructors of its own.
    let library = unsafe { libc::dlopen(name, libc::RTLD_NOW) };
    if library.is_null() {
        return; // Not glibc.
    }
    // SAFETY: the library is loaded and the name a C string.
    let symbol = unsafe { libc::dlsym(library, c"__ctype_get_mb_cur_max".as_ptr()) }.addr();
    let code = CodeAddress::of(symbol).unwrap();
    let build = code.image;
    assert_ne!(build, MAIN_IMAGE);
    assert_eq!(code.resolve(), Ok(symbol));

    // SAFETY: `dlopen` gave the handle; nothing of the library is used after this.
    unsafe { libc::dlclose(library) };
    // SAFETY: the name is a C string.
    let still = unsafe { libc::dlopen(name, libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    assert!(still.is_null());
    assert_eq!(code.resolve(), Err(CodeError::UnknownImage { build }));
    assert_eq!(CodeAddress::of(symbol), Err(CodeError::NotInImage));
}

#[test]
fn look_ups_from_many_threads_agree() {
    let addresses = [address_of(double), libc::getpid as *const () as usize];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for address in addresses.iter().cycle().copied().take(2000) {
                    assert_eq!(CodeAddress::of(address).unwrap().resolve(), Ok(address));
                }
            });
        }
    });
}

#[test]
fn a_look_up_inside_a_walk_returns() {
    let mut result = None;
    walk(&mut |_, _| {
        result = Some(CodeAddress::of(libc::getpid as *const () as usize));
        ControlFlow::Break(())
    });
    assert!(matches!(result, Some(Ok(_))));
}

#[test]
fn build_id_is_stable() {
    let id = build_id();
    assert_eq!(id, build_id());
    assert_eq!(BuildId::from_bytes(id.to_bytes()), id);
    assert_ne!(id.to_bytes(), [0; 16]);
}

#[test]
fn build_id_prints_as_hex() {
    let mut bytes = [0; 16];
    (bytes[0], bytes[15]) = (0x01, 0xab);
    let text = BuildId::from_bytes(bytes).to_string();
    assert_eq!(text, "010000000000000000000000000000ab");
}

fn note(kind: u32, name: &[u8], content: &[u8], align: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [name.len() as u32, content.len() as u32, kind] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(name);
    bytes.resize(bytes.len().next_multiple_of(align), 0);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(align), 0);
    bytes
}

#[test]
fn the_build_id_is_found_among_notes() {
    for align in [4, 8] {
        let mut notes = note(5, b"GNU\0", &[9; 20], align);
        notes.extend(note(BUILD_ID_NOTE, b"Go\0\0", &[8; 20], align));
        assert_eq!(find_build_id(&notes, align), None);
        notes.extend(note(BUILD_ID_NOTE, b"GNU\0", &[7; 20], align));
        notes.extend(note(1, b"stapsdt\0", &[6; 3], align));
        assert_eq!(find_build_id(&notes, align), Some(&[7; 20][..]));
    }
}

#[test]
fn damaged_notes_are_no_build_id() {
    let whole = note(BUILD_ID_NOTE, b"GNU\0", &[7; 20], 4);
    for length in 0..whole.len() {
        assert_eq!(find_build_id(&whole[..length], 4), None);
    }
    for word in 0..2 {
        let mut huge = whole.clone();
        huge[word * 4..][..4].fill(0xff);
        assert_eq!(find_build_id(&huge, 4), None);
    }
    let empty = note(BUILD_ID_NOTE, b"GNU\0", &[], 4);
    assert_eq!(find_build_id(&empty, 4), None);
}

#[test]
fn a_library_without_build_id_has_no_number() {
    let mut library = Image {
        name: "plugin.so".into(),
        bias: 0,
        code: Vec::new(),
        identity: Identity::Headers(Fnv::NEW),
    };
    assert_eq!(library.number(), None);
    library.identity = Identity::BuildId(Fnv(0));
    assert_eq!(library.number(), Some(1));
}

#[test]
fn an_image_below_its_linked_addresses_is_read_right() {
    let image = Image {
        name: String::new(),
        bias: 0x1000usize.wrapping_sub(0x40_0000),
        code: vec![Range {
            start: 0x40_0000,
            end: 0x40_1000,
        }],
        identity: Identity::Headers(Fnv::NEW),
    };
    assert_eq!(image.offset_of(0x1000), Some(0x40_0000));
    assert_eq!(image.address_of(0x40_0fff), Some(0x1fff));
    assert_eq!(image.offset_of(0x2000), None);
    assert_eq!(image.address_of(0x40_1000), None);
}

#[test]
fn the_hash_is_fnv_1a() {
    // The published value for "foobar".
    let hash = Fnv::NEW.with(b"foobar");
    assert_eq!(hash.0, 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
}

#[test]
fn errors_say_what_happened() {
    let texts = [
        CodeError::NoBuildId {
            image: "/lib/x.so".into(),
        }
        .to_string(),
        CodeError::UnknownImage { build: 0xbeef }.to_string(),
        CodeError::OutOfSegment {
            build: 0,
            offset: 16,
        }
        .to_string(),
    ];
    assert_eq!(texts[0], "library /lib/x.so has no build-id");
    assert_eq!(
        texts[1],
        "no image with build-id hash 0000beef is loaded here"
    );
    assert!(texts[2].contains("offset 0x10"), "{}", texts[2]);
}
