//! Names code so that another process running the same executable can find it.
//!
//! The loader puts every image (the main executable and each shared library) at a random
//! place, but keeps the distances inside it. So a function is named by the image that holds
//! it and by its offset from that image's *load bias*, the `dlpi_addr` of
//! `dl_iterate_phdr`. The main executable is image 0; a shared library is named by a hash of
//! its build-id, never by its place in the loader's list, which may differ between processes.
//!
//! Both sides check: [`CodeAddress::of`] names only addresses inside an executable segment,
//! and [`CodeAddress::resolve`] finds only addresses inside an executable segment of the image
//! with the same build-id. That the two main executables are the same build is not checked
//! here: the handshake compares [`build_id`].
//!
//! # Caches
//!
//! The main executable is never unloaded, so it is read once and a look-up in it is a few
//! comparisons. The list of libraries is kept too, but each look-up in it asks the loader
//! whether a library came or went since. No lock is held while the loader is called, so a
//! look-up can neither deadlock with `dlopen` nor inside a `dl_iterate_phdr` callback.
//!
//! # Safety
//!
//! The only file that reads the images' headers, and that makes a function pointer from a
//! number.
#![allow(
    unsafe_code,
    reason = "reads the loaded images' headers and makes function pointers"
)]

use std::ffi::{CStr, c_int, c_void};
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::{error, fmt, fs, mem, ptr, slice};

#[cfg(target_pointer_width = "32")]
use libc::Elf32_Phdr as ProgramHeader;
#[cfg(target_pointer_width = "64")]
use libc::Elf64_Phdr as ProgramHeader;

#[cfg(test)]
mod tests;

/// The number of the main executable; no library has it.
const MAIN_IMAGE: u32 = 0;

/// `NT_GNU_BUILD_ID`, the type of the note that holds the build-id.
const BUILD_ID_NOTE: u32 = 3;

/// Names one place in the code, in a way that holds in every process of the same build.
///
/// Plain data of 16 bytes without padding. It is meaningful only to processes that run the same
/// executable, see [`build_id`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeAddress {
    /// 0 for the main executable, else the hash of the library's build-id.
    image: u32,
    /// Always 0.
    reserved: u32,
    /// Distance from the image's load bias, in bytes.
    offset: u64,
}

const _: () = assert!(size_of::<CodeAddress>() == 16);

impl CodeAddress {
    /// Names the code at `address`, which is usually a function pointer cast to `usize`.
    ///
    /// # Errors
    ///
    /// [`CodeError::NotInImage`]: `address` is in no executable segment of a loaded image: it is
    /// data, null, or code made at run time. [`CodeError::NoBuildId`]: it is in a shared library
    /// that was linked without a build-id.
    pub fn of(address: usize) -> Result<CodeAddress, CodeError> {
        if let Some(offset) = main_image().offset_of(address) {
            return Ok(CodeAddress::new(MAIN_IMAGE, offset));
        }
        CodeAddress::of_library(address)
    }

    /// Finds the named code in this process.
    ///
    /// The address stays valid for ever in the main executable, and in a library until that is
    /// unloaded. Of two loaded copies of one library the first is taken.
    ///
    /// # Errors
    ///
    /// [`CodeError::UnknownImage`]: no image with that build-id is loaded here.
    /// [`CodeError::OutOfSegment`]: the image has no code at that offset.
    pub fn resolve(self) -> Result<usize, CodeError> {
        if self.image == MAIN_IMAGE
            && self.reserved == 0
            && let Some(address) = main_image().address_of(self.offset)
        {
            return Ok(address);
        }
        self.resolve_elsewhere()
    }

    /// The two words to send; [`CodeAddress::from_words`] is the inverse.
    pub fn to_words(self) -> [u64; 2] {
        let head = u64::from(self.reserved) << 32 | u64::from(self.image);
        [head, self.offset]
    }

    /// Takes received words; nothing is checked before [`CodeAddress::resolve`].
    pub fn from_words([head, offset]: [u64; 2]) -> CodeAddress {
        CodeAddress {
            image: head as u32,
            reserved: (head >> 32) as u32,
            offset,
        }
    }

    fn new(image: u32, offset: usize) -> CodeAddress {
        CodeAddress {
            image,
            reserved: 0,
            offset: offset as u64,
        }
    }

    /// The rest of [`CodeAddress::of`]: the address is not in the main executable.
    #[cold]
    fn of_library(address: usize) -> Result<CodeAddress, CodeError> {
        find_in_libraries(|library| {
            let offset = library.offset_of(address)?;
            let Some(number) = library.number() else {
                let image = library.name.clone();
                return Some(Err(CodeError::NoBuildId { image }));
            };
            Some(Ok(CodeAddress::new(number, offset)))
        })
        .unwrap_or(Err(CodeError::NotInImage))
    }

    /// The rest of [`CodeAddress::resolve`]: a library or an error.
    #[cold]
    fn resolve_elsewhere(self) -> Result<usize, CodeError> {
        let (build, offset) = (self.image, self.offset);
        if self.reserved != 0 {
            return Err(CodeError::UnknownImage { build });
        }
        if build == MAIN_IMAGE {
            return Err(CodeError::OutOfSegment { build, offset });
        }
        find_in_libraries(|library| {
            let same_build = library.number() == Some(build);
            same_build.then(|| library.address_of(offset))
        })
        .ok_or(CodeError::UnknownImage { build })?
        .ok_or(CodeError::OutOfSegment { build, offset })
    }
}

/// Why code could not be named or found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodeError {
    /// The address is in no executable segment of a loaded image.
    NotInImage,
    /// The shared library was linked without a build-id, so it cannot be recognised elsewhere.
    NoBuildId {
        /// The library's path as the loader knows it.
        image: String,
    },
    /// No image with that build-id is loaded in this process.
    UnknownImage {
        /// Hash of the build-id.
        build: u32,
    },
    /// The image is loaded, but has no code at that offset.
    OutOfSegment {
        /// Hash of the build-id; 0 for the main executable.
        build: u32,
        /// Offset from the image's load bias, in bytes.
        offset: u64,
    },
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodeError::NotInImage => {
                f.write_str("address is not in the code of the executable or of a loaded library")
            }
            CodeError::NoBuildId { image } => write!(f, "library {image} has no build-id"),
            CodeError::UnknownImage { build } => {
                write!(f, "no image with build-id hash {build:08x} is loaded here")
            }
            CodeError::OutOfSegment { build, offset } => write!(
                f,
                "offset {offset:#x} is not in the code of the image with build-id hash {build:08x}"
            ),
        }
    }
}

impl error::Error for CodeError {}

/// Identity of the main executable: equal in all processes of one build.
///
/// Tells builds apart that differ by accident, it is no protection against forgery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BuildId([u8; 16]);

impl BuildId {
    /// The bytes to send; [`BuildId::from_bytes`] is the inverse.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Takes received bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> BuildId {
        BuildId(bytes)
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Identity of this process's main executable.
///
/// A hash of its GNU build-id. Where the linker wrote none, a hash of its program headers and of
/// the device, inode, size and modification time of `/proc/self/exe`; copies of such a file
/// count as different builds.
pub fn build_id() -> BuildId {
    static BUILD_ID: OnceLock<BuildId> = OnceLock::new();
    let main = main_image();
    *BUILD_ID.get_or_init(|| match main.identity {
        Identity::BuildId(hash) => BuildId(hash.0.to_be_bytes()),
        Identity::Headers(hash) => BuildId(hash.with_own_file().0.to_be_bytes()),
    })
}

/// Makes a function pointer of type `F` from a resolved address.
///
/// Does not compile when `F` has not the size of a pointer.
///
/// # Safety
///
/// `F` is a function pointer type, and `address` was returned by [`CodeAddress::resolve`] for a
/// [`CodeAddress`] that [`CodeAddress::of`] made, in a process running the same build, from a
/// value of exactly this type `F`. If the code is in a library, that stays loaded for as long as
/// the pointer is called.
pub unsafe fn fn_from_address<F: Copy>(address: usize) -> F {
    const {
        assert!(
            size_of::<F>() == size_of::<usize>(),
            "F must be a function pointer type"
        );
    }
    let pointer: *const () = ptr::with_exposed_provenance(address);
    // SAFETY: the sizes are equal; by the caller's promise `pointer` is a value of the function
    // pointer type `F`.
    unsafe { mem::transmute_copy(&pointer) }
}

/// What is known about a loaded image.
#[derive(Debug)]
struct Image {
    name: String,
    bias: usize,
    /// The executable segments, as offsets from `bias`.
    code: Vec<Range<usize>>,
    identity: Identity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// Hash of the build-id.
    BuildId(Fnv),
    /// Hash of the program headers, for an image without build-id.
    Headers(Fnv),
}

impl Image {
    fn read(info: &libc::dl_phdr_info, headers: &[ProgramHeader]) -> Image {
        let name = if info.dlpi_name.is_null() {
            String::new()
        } else {
            // SAFETY: not null, and the loader's names are C strings that live during the walk.
            let name = unsafe { CStr::from_ptr(info.dlpi_name) };
            name.to_string_lossy().into_owned()
        };
        let bias = info.dlpi_addr as usize;
        let identity = headers
            .iter()
            .filter(|header| header.p_type == libc::PT_NOTE)
            .filter_map(|header| Some((loaded_bytes(bias, headers, header)?, header.p_align)))
            .find_map(|(notes, align)| find_build_id(notes, align as usize))
            .map_or_else(
                || Identity::Headers(Fnv::NEW.with_headers(headers)),
                |id| Identity::BuildId(Fnv::NEW.with(id)),
            );
        Image {
            name,
            bias,
            code: segments(headers, libc::PF_X).map(memory_range).collect(),
            identity,
        }
    }

    /// The library's number, or `None` if it has no build-id.
    fn number(&self) -> Option<u32> {
        match self.identity {
            Identity::BuildId(hash) => Some(hash.fold().max(MAIN_IMAGE + 1)),
            Identity::Headers(_) => None,
        }
    }

    /// The bias is added and subtracted modulo the address space, because the loader may put an
    /// image below the addresses it was linked for. The ranges do not wrap.
    fn offset_of(&self, address: usize) -> Option<usize> {
        let offset = address.wrapping_sub(self.bias);
        self.has_code_at(offset).then_some(offset)
    }

    fn address_of(&self, offset: u64) -> Option<usize> {
        let offset = usize::try_from(offset).ok()?;
        self.has_code_at(offset)
            .then(|| self.bias.wrapping_add(offset))
    }

    fn has_code_at(&self, offset: usize) -> bool {
        self.code.iter().any(|range| range.contains(&offset))
    }
}

/// The loadable segments that have the permission `flag`.
fn segments(headers: &[ProgramHeader], flag: u32) -> impl Iterator<Item = &ProgramHeader> {
    headers
        .iter()
        .filter(move |header| header.p_type == libc::PT_LOAD && header.p_flags & flag != 0)
}

/// Where the segment is in memory, as offsets from the load bias.
fn memory_range(header: &ProgramHeader) -> Range<usize> {
    let start = header.p_vaddr as usize;
    start..start.saturating_add(header.p_memsz as usize)
}

/// The bytes that `part` describes, if a readable segment of the image holds them all.
fn loaded_bytes<'a>(
    bias: usize,
    headers: &'a [ProgramHeader],
    part: &ProgramHeader,
) -> Option<&'a [u8]> {
    let range = memory_range(part);
    let loaded = segments(headers, libc::PF_R)
        .map(memory_range)
        .any(|segment| segment.start <= range.start && range.end <= segment.end);
    if !loaded {
        return None;
    }
    let start = ptr::with_exposed_provenance(bias.wrapping_add(range.start));
    // SAFETY: the range is inside a readable segment, which stays mapped as long as the headers
    // that describe it: both belong to the image that is being visited.
    Some(unsafe { slice::from_raw_parts(start, range.len()) })
}

/// Finds the build-id in the content of a note segment.
fn find_build_id(mut notes: &[u8], align: usize) -> Option<&[u8]> {
    let align = if align == 8 { 8 } else { 4 };
    loop {
        let (header, _) = notes.split_first_chunk::<12>()?;
        let word = |at: usize| header[at..].first_chunk().copied().map(u32::from_ne_bytes);
        let (name_len, id_len, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let name_end = header.len().checked_add(name_len)?;
        let id_start = name_end.checked_next_multiple_of(align)?;
        let id_end = id_start.checked_add(id_len)?;
        let name = notes.get(header.len()..name_end)?;
        let id = notes.get(id_start..id_end)?;
        if kind == BUILD_ID_NOTE && name == b"GNU\0" && !id.is_empty() {
            return Some(id);
        }
        notes = notes.get(id_end.checked_next_multiple_of(align)?..)?;
    }
}

/// The FNV-1a hash of 128 bits: the same in every process and every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fnv(u128);

impl Fnv {
    const NEW: Fnv = Fnv(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);

    fn with(self, bytes: &[u8]) -> Fnv {
        bytes.iter().fold(self, |hash, &byte| {
            Fnv((hash.0 ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b))
        })
    }

    fn with_headers(self, headers: &[ProgramHeader]) -> Fnv {
        headers.iter().fold(self, |hash, header| {
            hash.with(&header.p_type.to_ne_bytes())
                .with(&header.p_flags.to_ne_bytes())
                .with(&header.p_vaddr.to_ne_bytes())
                .with(&header.p_filesz.to_ne_bytes())
                .with(&header.p_memsz.to_ne_bytes())
        })
    }

    /// Adds which file this process runs; nothing if `/proc` is not there.
    fn with_own_file(self) -> Fnv {
        let Ok(file) = fs::metadata("/proc/self/exe") else {
            return self;
        };
        self.with(&file.dev().to_ne_bytes())
            .with(&file.ino().to_ne_bytes())
            .with(&file.size().to_ne_bytes())
            .with(&file.mtime().to_ne_bytes())
            .with(&file.mtime_nsec().to_ne_bytes())
    }

    fn fold(self) -> u32 {
        let half = (self.0 >> 64) as u64 ^ self.0 as u64;
        (half >> 32) as u32 ^ half as u32
    }
}

/// The shared libraries that were loaded when the loader's counters stood at `changes`.
#[derive(Debug)]
struct Libraries {
    changes: Changes,
    images: Vec<Image>,
}

/// How often the loader has loaded and unloaded an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Changes {
    loads: u64,
    unloads: u64,
}

impl Changes {
    fn read(info: &libc::dl_phdr_info) -> Changes {
        Changes {
            loads: info.dlpi_adds,
            unloads: info.dlpi_subs,
        }
    }

    fn now() -> Changes {
        let mut changes = Changes::default();
        walk(&mut |info, _| {
            changes = Changes::read(info);
            ControlFlow::Break(())
        });
        changes
    }
}

impl Libraries {
    /// Reads the list from the loader, without the main executable and the kernel's vdso.
    fn read() -> Libraries {
        // SAFETY: has no precondition.
        let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize;
        let mut changes = None;
        let mut images = Vec::new();
        walk(&mut |info, headers| {
            // The first image is the main executable.
            if changes.replace(Changes::read(info)).is_none() {
                return ControlFlow::Continue(());
            }
            let vdso_offset = vdso.wrapping_sub(info.dlpi_addr as usize);
            if !segments(headers, libc::PF_X).any(|it| memory_range(it).contains(&vdso_offset)) {
                images.push(Image::read(info, headers));
            }
            ControlFlow::Continue(())
        });
        Libraries {
            changes: changes.unwrap_or_default(),
            images,
        }
    }
}

/// The main executable, which the loader lists first.
fn main_image() -> &'static Image {
    static MAIN: OnceLock<Image> = OnceLock::new();
    if let Some(image) = MAIN.get() {
        return image;
    }
    let mut first = None;
    walk(&mut |info, headers| {
        first = Some(Image::read(info, headers));
        ControlFlow::Break(())
    });
    MAIN.get_or_init(|| {
        // Without a list nothing can be named, which is an error for the caller to see.
        first.unwrap_or(Image {
            name: String::new(),
            bias: 0,
            code: Vec::new(),
            identity: Identity::Headers(Fnv::NEW),
        })
    })
}

/// Returns what `find` makes of the first library it accepts.
///
/// Tries the kept list if the loader's counters have not changed, then a new one.
fn find_in_libraries<T>(find: impl Fn(&Image) -> Option<T>) -> Option<T> {
    static KEPT: Mutex<Option<Arc<Libraries>>> = Mutex::new(None);
    // A clone, so that the lock is not held while the loader is called.
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(kept) = kept
        && kept.changes == Changes::now()
        && let Some(found) = kept.images.iter().find_map(&find)
    {
        return Some(found);
    }
    let read = Arc::new(Libraries::read());
    let old = KEPT
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(Arc::clone(&read));
    drop(old);
    read.images.iter().find_map(find)
}

/// What [`walk`] calls for each image, with its program headers.
type Visitor<'a> = &'a mut dyn FnMut(&libc::dl_phdr_info, &[ProgramHeader]) -> ControlFlow<()>;

/// Visits the loaded images, the main executable first.
///
/// The loader holds a lock meanwhile: nothing is unloaded, and `visitor` may not panic.
fn walk(mut visitor: Visitor<'_>) {
    let data = (&raw mut visitor).cast();
    // SAFETY: `visit_image` has the type the loader expects and gets its `Visitor` in `data`.
    unsafe { libc::dl_iterate_phdr(Some(visit_image), data) };
}

/// # Safety
///
/// `data` points to the [`Visitor`] of a running [`walk`]; the loader makes `info`, of `size` bytes.
unsafe extern "C" fn visit_image(
    info: *mut libc::dl_phdr_info,
    size: usize,
    data: *mut c_void,
) -> c_int {
    if size < size_of::<libc::dl_phdr_info>() {
        return 1;
    }
    // SAFETY: the loader filled it, it has all fields (checked), and lives until the return.
    let info = unsafe { &*info };
    // SAFETY: `walk` passed its own visitor and uses it no more until the loader returns.
    let visitor = unsafe { &mut *data.cast::<Visitor<'_>>() };
    let headers = if info.dlpi_phdr.is_null() {
        &[]
    } else {
        // SAFETY: not null, and the loader's table of the image has `dlpi_phnum` entries.
        unsafe { slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
    };
    match visitor(info, headers) {
        ControlFlow::Continue(()) => 0,
        ControlFlow::Break(()) => 1,
    }
}
