//! Records on their way from one object server to another: what RECORDS answers and MERGE takes.
//!
//! A stream is a sequence of frames. Each has a header of 12 bytes (`AR1`, the kind of frame, the length of what
//! follows, a CRC-32 of kind, length and what follows; all little-endian) and at most 1 MiB behind it, so neither end
//! ever holds more. The kinds:
//!
//! | kind | what follows |
//! |---|---|
//! | 1 | a record's head: all of it but its data |
//! | 2 | a piece of its data. A record is complete with its last byte of data; one without data with its head |
//! | 3 | nothing. The record before is given up by the sender, who cannot read all of its data |
//! | 4 | the end: a [`PageEnd`] as JSON. A stream without it has been cut off |
//!
//! A record's head: kind of record (1 data, 2 meta, 3 tombstone, 4 durable), flags (1 of a fragment, 2 that is
//! durable, 4 with a content type's timestamp), fragment index, 0; hash (16 bytes); then of 8 bytes each timestamp,
//! its offset, content type's timestamp, second of expiry or 0, length of data; count of metadata (2), and of each
//! length of key (2), length of value (4), key, value, in ascending order of keys.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use types::{ObjectHash, Timestamp};

const MAGIC: &[u8; 3] = b"AR1";
const HEADER: usize = 12;
/// Most bytes behind the header of a frame.
pub const PAYLOAD_MAX: usize = 1 << 20;
const RECORD: u8 = 1;
const DATA: u8 = 2;
const ABANDONED: u8 = 3;
const END: u8 = 4;
const FLAG_FRAGMENT: u8 = 1;
const FLAG_DURABLE: u8 = 2;
const FLAG_CONTENT_TYPE: u8 = 4;

/// What a record says of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// New data with its metadata (Swift's `.data`).
    Data,
    /// New user metadata (Swift's `.meta`).
    Meta,
    /// It was deleted (Swift's `.ts`).
    Tombstone,
    /// Fragments of that moment are durable now (Swift's `.durable`).
    Durable,
}

/// Of an erasure-coded object: which piece a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFragment {
    /// Its number.
    pub index: u8,
    /// Whether enough pieces are known to be stored.
    pub durable: bool,
}

/// A record but for its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// What it says.
    pub kind: RecordKind,
    /// Of which object.
    pub hash: ObjectHash,
    /// When it was made.
    pub timestamp: Timestamp,
    /// When the content type was set, if the record sets one at a moment of its own.
    pub content_type_timestamp: Option<Timestamp>,
    /// When the object expires, in seconds; 0 for never.
    pub delete_at: u64,
    /// Of an erasure-coded object.
    pub fragment: Option<RecordFragment>,
    /// Bytes of data; 0 for all but [`RecordKind::Data`].
    pub data_len: u64,
    /// The object's metadata, in ascending order of keys.
    pub metadata: Vec<(String, Vec<u8>)>,
}

/// Where a stream ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageEnd {
    /// Where to go on, when this is not the end of what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    /// Records that were left out because they are damaged or have just changed.
    pub skipped: u64,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A record begins.
    Record(RecordHead),
    /// Some of its data.
    Data(Bytes),
    /// It is given up.
    Abandoned,
    /// Nothing more comes.
    End(PageEnd),
}

/// Why bytes are no stream of records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// Something else.
    #[error("a frame does not begin as it should")]
    Magic,
    /// A frame may not be so long.
    #[error("a frame is longer than frames may be")]
    Length,
    /// What came is not what was sent.
    #[error("the checksum of a frame does not hold")]
    Checksum,
    /// A field holds what it cannot.
    #[error("the {0} of a record is out of range")]
    Field(&'static str),
    /// Frames come in another order than they can.
    #[error("a frame comes where it cannot")]
    Order,
    /// No end.
    #[error("the stream ends early")]
    Short,
}

impl RecordHead {
    /// The frame that a record begins with; `None` when its metadata does not fit into one.
    pub fn frame(&self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(128);
        let flag = |there: bool, flag: u8| if there { flag } else { 0 };
        out.push(match self.kind {
            RecordKind::Data => 1,
            RecordKind::Meta => 2,
            RecordKind::Tombstone => 3,
            RecordKind::Durable => 4,
        });
        out.push(
            flag(self.fragment.is_some(), FLAG_FRAGMENT)
                | flag(self.fragment.is_some_and(|fragment| fragment.durable), FLAG_DURABLE)
                | flag(self.content_type_timestamp.is_some(), FLAG_CONTENT_TYPE),
        );
        out.extend([self.fragment.map_or(0, |fragment| fragment.index), 0]);
        out.extend(self.hash.0);
        let typed = self.content_type_timestamp.map_or(0, |at| at.raw);
        let Timestamp { raw, offset } = self.timestamp;
        for number in [raw, offset, typed, self.delete_at, self.data_len] {
            out.extend(number.to_le_bytes());
        }
        out.extend(u16::try_from(self.metadata.len()).ok()?.to_le_bytes());
        for (key, value) in &self.metadata {
            out.extend(u16::try_from(key.len()).ok()?.to_le_bytes());
            out.extend(u32::try_from(value.len()).ok()?.to_le_bytes());
            out.extend(key.as_bytes());
            out.extend(value);
        }
        (out.len() <= PAYLOAD_MAX).then(|| frame(RECORD, &out))
    }

    fn decode(payload: &[u8]) -> Result<Self, RecordsError> {
        let mut fields = Fields(payload);
        let kind = match fields.array::<1>()? {
            [1] => RecordKind::Data,
            [2] => RecordKind::Meta,
            [3] => RecordKind::Tombstone,
            [4] => RecordKind::Durable,
            _ => return Err(RecordsError::Field("kind")),
        };
        let [flags, index, _] = fields.array()?;
        if flags & !(FLAG_FRAGMENT | FLAG_DURABLE | FLAG_CONTENT_TYPE) != 0 {
            return Err(RecordsError::Field("flags"));
        }
        let durable = flags & FLAG_DURABLE != 0;
        let fragment = (flags & FLAG_FRAGMENT != 0).then_some(RecordFragment { index, durable });
        let hash = ObjectHash(fields.array()?);
        let timestamp = Timestamp { raw: fields.u64()?, offset: fields.u64()? };
        let typed = fields.u64()?;
        let typed = (flags & FLAG_CONTENT_TYPE != 0).then_some(Timestamp { raw: typed, offset: 0 });
        for moment in [Some(timestamp), typed].into_iter().flatten() {
            if Timestamp::from_raw(moment.raw).raw != moment.raw {
                return Err(RecordsError::Field("timestamp"));
            }
        }
        let (delete_at, data_len) = (fields.u64()?, fields.u64()?);
        if data_len > 0 && kind != RecordKind::Data {
            return Err(RecordsError::Field("length"));
        }
        let mut metadata: Vec<(String, Vec<u8>)> = Vec::new();
        for _ in 0..u16::from_le_bytes(fields.array()?) {
            let key_len = usize::from(u16::from_le_bytes(fields.array()?));
            let value_len = u32::from_le_bytes(fields.array()?) as usize;
            let key = std::str::from_utf8(fields.take(key_len)?);
            let key = key.map_err(|_| RecordsError::Field("metadata"))?.to_owned();
            if metadata.last().is_some_and(|(last, _)| *last >= key) {
                return Err(RecordsError::Field("metadata"));
            }
            metadata.push((key, fields.take(value_len)?.to_vec()));
        }
        if !fields.0.is_empty() {
            return Err(RecordsError::Field("metadata"));
        }
        Ok(RecordHead {
            kind,
            hash,
            timestamp,
            content_type_timestamp: typed,
            delete_at,
            fragment,
            data_len,
            metadata,
        })
    }
}

impl PageEnd {
    /// The last frame of a stream.
    pub fn frame(&self) -> Bytes {
        frame(END, &serde_json::to_vec(self).unwrap_or_default())
    }
}

/// The header of a piece of data of at most [`PAYLOAD_MAX`] bytes, which is to follow it.
pub fn data_header(data: &[u8]) -> [u8; HEADER] {
    header(DATA, data)
}

/// The frame by which a record is given up whose data does not come.
pub fn abandoned_frame() -> Bytes {
    frame(ABANDONED, b"")
}

fn frame(kind: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + payload.len());
    out.put_slice(&header(kind, payload));
    out.put_slice(payload);
    out.freeze()
}

fn header(kind: u8, payload: &[u8]) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..3].copy_from_slice(MAGIC);
    out[3] = kind;
    out[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[3..8]);
    crc.update(payload);
    out[8..].copy_from_slice(&crc.finalize().to_le_bytes());
    out
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordsError> {
        let short = RecordsError::Field("length");
        let (taken, rest) = self.0.split_at_checked(len).ok_or(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordsError> {
        self.take(N)?.try_into().map_err(|_| RecordsError::Field("length"))
    }

    fn u64(&mut self) -> Result<u64, RecordsError> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}

/// Reads a stream that comes in pieces of any length. After an error nothing of it can be trusted any more.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: BytesMut,
    /// Of the record's data.
    missing: u64,
    ended: bool,
}

impl FrameReader {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The next frame, when it is there.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, RecordsError> {
        let Some(header_bytes) = self.bytes.first_chunk::<HEADER>() else {
            let known = self.bytes.len().min(MAGIC.len());
            return match self.bytes[..known] == MAGIC[..known] {
                true => Ok(None),
                false => Err(RecordsError::Magic),
            };
        };
        let [m0, m1, m2, kind, l0, l1, l2, l3, ..] = *header_bytes;
        if [m0, m1, m2] != *MAGIC {
            return Err(RecordsError::Magic);
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len > PAYLOAD_MAX {
            return Err(RecordsError::Length);
        }
        if self.bytes.len() < HEADER + len {
            return Ok(None);
        }
        let mut whole = self.bytes.split_to(HEADER + len);
        let payload = whole.split_off(HEADER).freeze();
        if whole[..] != header(kind, &payload) {
            return Err(RecordsError::Checksum);
        }
        self.understand(kind, payload).map(Some)
    }

    fn understand(&mut self, kind: u8, payload: Bytes) -> Result<Frame, RecordsError> {
        let within = self.missing > 0;
        match kind {
            _ if self.ended => Err(RecordsError::Order),
            RECORD if !within => {
                let head = RecordHead::decode(&payload)?;
                self.missing = head.data_len;
                Ok(Frame::Record(head))
            }
            DATA if within && !payload.is_empty() => {
                let left = self.missing.checked_sub(payload.len() as u64);
                self.missing = left.ok_or(RecordsError::Field("length"))?;
                Ok(Frame::Data(payload))
            }
            ABANDONED if within && payload.is_empty() => {
                self.missing = 0;
                Ok(Frame::Abandoned)
            }
            END if !within => {
                self.ended = true;
                let end = serde_json::from_slice(&payload);
                end.map(Frame::End).map_err(|_| RecordsError::Field("end"))
            }
            _ => Err(RecordsError::Order),
        }
    }

    /// Whether the record that came last is complete.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The other end has sent all; whether that is all there was to come.
    pub fn finish(&self) -> Result<(), RecordsError> {
        if self.ended && self.bytes.is_empty() { Ok(()) } else { Err(RecordsError::Short) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> impl Strategy<Value = RecordHead> {
        let kind = prop_oneof![
            Just(RecordKind::Data),
            Just(RecordKind::Meta),
            Just(RecordKind::Tombstone),
            Just(RecordKind::Durable),
        ];
        let raw = 0u64..1_000_000_000_000_000;
        let metadata = proptest::collection::btree_map(
            "[a-z-]{1,20}",
            proptest::collection::vec(any::<u8>(), 0..40),
            0..5,
        );
        let fragment = proptest::option::of(any::<(u8, bool)>());
        let moments = (raw.clone(), any::<u64>(), proptest::option::of(raw));
        (kind, any::<[u8; 16]>(), moments, any::<u64>(), fragment, 0u64..100, metadata).prop_map(
            |(kind, hash, (raw, offset, typed), delete_at, fragment, data_len, metadata)| {
                RecordHead {
                    kind,
                    hash: ObjectHash(hash),
                    timestamp: Timestamp { raw, offset },
                    content_type_timestamp: typed.map(Timestamp::from_raw),
                    delete_at,
                    fragment: fragment.map(|(index, durable)| RecordFragment { index, durable }),
                    data_len: if kind == RecordKind::Data { data_len } else { 0 },
                    metadata: metadata.into_iter().collect(),
                }
            },
        )
    }

    fn stream(heads: &[RecordHead]) -> (Vec<u8>, Vec<Frame>) {
        let (mut bytes, mut frames) = (Vec::new(), Vec::new());
        for head in heads {
            bytes.extend(head.frame().expect("fits"));
            frames.push(Frame::Record(head.clone()));
            let data = vec![head.hash.0[0]; head.data_len as usize];
            for piece in data.chunks(37) {
                bytes.extend(data_header(piece));
                bytes.extend(piece);
                frames.push(Frame::Data(Bytes::copy_from_slice(piece)));
            }
        }
        let end = PageEnd { marker: Some("a1".into()), skipped: 3 };
        bytes.extend(end.frame());
        frames.push(Frame::End(end));
        (bytes, frames)
    }

    fn read(bytes: &[u8], step: usize) -> Result<Vec<Frame>, RecordsError> {
        let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
        for piece in bytes.chunks(step) {
            reader.push(piece);
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame);
            }
        }
        reader.finish()?;
        Ok(frames)
    }

    proptest! {
        #[test]
        fn round_trips_in_pieces_of_any_length(
            heads in proptest::collection::vec(head(), 0..4),
            step in 1usize..200,
        ) {
            let (bytes, frames) = stream(&heads);
            prop_assert_eq!(read(&bytes, step), Ok(frames));
        }

        #[test]
        fn a_flipped_bit_is_noticed(
            heads in proptest::collection::vec(head(), 1..3),
            at: proptest::sample::Index,
            bit in 0u8..8,
        ) {
            let (mut bytes, frames) = stream(&heads);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let mut reader = FrameReader::default();
            reader.push(&bytes);
            let mut good = frames.into_iter();
            let broken = loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => prop_assert_eq!(Some(frame), good.next()),
                    // A longer length waits for what never comes.
                    Ok(None) => break reader.finish(),
                    Err(error) => break Err(error),
                }
            };
            prop_assert!(broken.is_err());
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), kind in 0u8..6) {
            let _ = RecordHead::decode(&bytes);
            let mut reader = FrameReader::default();
            reader.push(&frame(kind, &bytes));
            let _ = reader.next_frame();
        }
    }

    #[test]
    fn frames_have_their_order() {
        let tombstone = RecordHead {
            kind: RecordKind::Tombstone,
            hash: ObjectHash([1; 16]),
            timestamp: Timestamp::from_raw(5),
            content_type_timestamp: None,
            delete_at: 0,
            fragment: None,
            data_len: 0,
            metadata: Vec::new(),
        };
        let data = RecordHead { kind: RecordKind::Data, data_len: 2, ..tombstone.clone() };
        let (gone, data) = (tombstone.frame().expect("fits"), data.frame().expect("fits"));
        let long = RecordHead { data_len: 1, ..tombstone.clone() };
        let late = RecordHead { timestamp: Timestamp { raw: u64::MAX, offset: 0 }, ..tombstone };
        let end = PageEnd::default().frame();
        let piece = |bytes: &[u8]| frame(DATA, bytes);
        let cases: [(&[&Bytes], RecordsError); 9] = [
            (&[&piece(b"x")], RecordsError::Order),
            (&[&data, &gone], RecordsError::Order),
            (&[&data, &end], RecordsError::Order),
            (&[&data, &piece(b"xyz")], RecordsError::Field("length")),
            (&[&long.frame().expect("fits")], RecordsError::Field("length")),
            (&[&late.frame().expect("fits")], RecordsError::Field("timestamp")),
            (&[&gone, &abandoned_frame()], RecordsError::Order),
            (&[&end, &gone], RecordsError::Order),
            (&[&data, &abandoned_frame()], RecordsError::Short),
        ];
        for (frames, error) in cases {
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.iter().copied()).collect();
            assert_eq!(read(&bytes, 1000), Err(error), "{frames:?}");
        }
    }
}
