//! Little-endian fields, read without trust.

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Shorter than they say.
    #[error("it ends too early")]
    Short,
    /// Another magic: something else, or nothing, is there.
    #[error("it does not begin as it should")]
    Magic,
    /// Made by a newer apus.
    #[error("it is of version {0}, which this apus does not know")]
    Version(u16),
    /// A checksum does not hold.
    #[error("its checksum does not hold")]
    Checksum,
    /// It is whole, but belongs somewhere else.
    #[error("it belongs to another place")]
    Misplaced,
    /// A field holds what it cannot.
    #[error("its field {0} is out of range")]
    Field(&'static str),
}

/// Reads fields from the front of bytes.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins at the front.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(FormatError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        self.take(N)?.try_into().map_err(|_| FormatError::Short)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, FormatError> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next 16 bits.
    pub fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes fields one behind the other.
#[derive(Clone, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// Raw bytes.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// 8 bits.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    /// 16 bits.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    /// 32 bits.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    /// 64 bits.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }
}

/// A block whose last four bytes are the CRC of the others.
pub(super) fn seal_block(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(crate::io::BLOCK - 4, 0);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The content of a sealed block.
pub(super) fn open_block<'a>(block: &'a [u8], magic: &[u8]) -> Result<Reader<'a>, FormatError> {
    let content = block.get(..crate::io::BLOCK - 4).ok_or(FormatError::Short)?;
    let crc = Reader::new(&block[crate::io::BLOCK - 4..]).u32()?;
    let mut reader = Reader::new(content);
    if reader.take(magic.len())? != magic {
        return Err(FormatError::Magic);
    }
    if crc32fast::hash(content) != crc {
        return Err(FormatError::Checksum);
    }
    Ok(reader)
}
