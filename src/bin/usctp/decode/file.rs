//! Reads capture files frame by frame: pcap and pcapng, also gzipped; damage ends in an error that says where.

mod pcap;
mod pcapng;

use std::io::{self, BufReader, Cursor, Read};

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use thiserror::Error;

use pcap::Pcap;
use pcapng::Pcapng;

/// One frame of a capture.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// What the first byte belongs to (`LINKTYPE_*`); `None` where a record carries no packet at all.
    pub(crate) link_type: Option<u16>,
    /// When it was captured, in nanoseconds of whatever clock the file counts by.
    pub(crate) time: Option<i128>,
    /// The bytes that were captured, perhaps fewer than were on the wire.
    pub(crate) bytes: Bytes,
}

/// Why a file could not be read (on).
#[derive(Debug, Error)]
pub(crate) enum CaptureError {
    /// The system, or the decompression, refused.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It begins like no capture.
    #[error("it is neither pcap nor pcapng (it begins with {0:02x?})")]
    UnknownFormat([u8; 4]),
    /// It ends where more was announced.
    #[error("it is cut short: at byte {offset}, {what} needs {needed} bytes and {found} are left")]
    CutShort { what: &'static str, offset: u64, needed: usize, found: usize },
    /// It says something that cannot be.
    #[error("it is damaged: at byte {offset}, {what}")]
    Damaged { what: &'static str, offset: u64 },
}

/// A capture file being read.
pub(crate) struct CaptureFile {
    input: Input,
    format: Format,
}

enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

impl CaptureFile {
    /// Recognizes the format by its first four bytes.
    pub(crate) fn open(source: impl Read + 'static) -> Result<Self, CaptureError> {
        let mut input = Input::new(plain(source)?);
        let magic = match input.read_or_end(4, "the file header")? {
            Some(mut bytes) => bytes.split_to(4),
            None => return Err(CaptureError::Empty),
        };
        let magic = [magic.first(), magic.get(1), magic.get(2), magic.get(3)]
            .map(|byte| byte.copied().unwrap_or_default());
        let format = if magic == pcapng::SECTION_HEADER.to_be_bytes() {
            Format::Pcapng(Pcapng::open(&mut input)?)
        } else {
            Format::Pcap(Pcap::open(magic, &mut input)?)
        };
        Ok(Self { input, format })
    }

    /// The next frame, or `None` at a proper end. After an error, there is no next frame.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, CaptureError> {
        match &mut self.format {
            Format::Pcap(pcap) => pcap.next_frame(&mut self.input),
            Format::Pcapng(pcapng) => pcapng.next_frame(&mut self.input),
        }
    }
}

/// No frame or block is longer, so that a damaged length cannot ask for the memory of the machine.
const MAX_LEN: u32 = 16 << 20;

/// Takes gzip off where it is on.
fn plain(mut source: impl Read + 'static) -> Result<Box<dyn Read>, CaptureError> {
    let mut magic = Vec::new();
    Read::by_ref(&mut source).take(2).read_to_end(&mut magic)?;
    let gzipped = magic == [0x1f, 0x8b];
    let source = Read::chain(Cursor::new(magic), source);
    Ok(if gzipped {
        Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(source))))
    } else {
        Box::new(BufReader::new(source))
    })
}

/// The bytes of a file, and how far they were read.
struct Input {
    source: Box<dyn Read>,
    offset: u64,
}

impl Input {
    fn new(source: Box<dyn Read>) -> Self {
        Self { source, offset: 0 }
    }

    /// Exactly `len` bytes.
    fn read(&mut self, len: usize, what: &'static str) -> Result<Bytes, CaptureError> {
        // The buffer grows with what is there, not with what a damaged length announces.
        let mut bytes = Vec::new();
        let offset = self.offset;
        let found = Read::by_ref(&mut self.source).take(len as u64).read_to_end(&mut bytes)?;
        self.offset += found as u64;
        if found < len {
            return Err(CaptureError::CutShort { what, offset, needed: len, found });
        }
        Ok(bytes.into())
    }

    /// Exactly `len` bytes, or `None` where the file ends right here.
    fn read_or_end(
        &mut self,
        len: usize,
        what: &'static str,
    ) -> Result<Option<Bytes>, CaptureError> {
        match self.read(len, what) {
            Err(CaptureError::CutShort { found: 0, .. }) => Ok(None),
            result => result.map(Some),
        }
    }

    fn damaged(&self, what: &'static str) -> CaptureError {
        CaptureError::Damaged { what, offset: self.offset }
    }
}

/// Reads numbers in the byte order of a file; past the end, the file is cut short.
struct Fields {
    bytes: Bytes,
    big_endian: bool,
    what: &'static str,
    offset: u64,
}

impl Fields {
    fn u16(&mut self) -> Result<u16, CaptureError> {
        let order = self.big_endian;
        let value = if order { self.bytes.try_get_u16() } else { self.bytes.try_get_u16_le() };
        value.map_err(|_| self.cut_short(2))
    }

    fn u32(&mut self) -> Result<u32, CaptureError> {
        let order = self.big_endian;
        let value = if order { self.bytes.try_get_u32() } else { self.bytes.try_get_u32_le() };
        value.map_err(|_| self.cut_short(4))
    }

    fn take(&mut self, len: usize) -> Result<Bytes, CaptureError> {
        if len > self.bytes.len() {
            return Err(self.cut_short(len));
        }
        Ok(self.bytes.split_to(len))
    }

    fn cut_short(&self, needed: usize) -> CaptureError {
        let found = self.bytes.len();
        CaptureError::CutShort { what: self.what, offset: self.offset, needed, found }
    }
}
