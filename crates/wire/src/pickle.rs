//! As much of Python's pickles as Swift's backend API sends: text, whole numbers, None, and dictionaries of these.
//!
//! [`Value::encode`] writes protocol 2 byte for byte as CPython does. [`Value::decode`] reads what CPython writes of
//! such values in protocols 0 to 5, and refuses every instruction that makes or calls something.

use std::collections::HashMap;

/// Deepest nesting that is read; what Swift sends has two levels.
const DEPTH_MAX: usize = 8;
/// Items that CPython puts between one mark and its end.
const BATCH: usize = 1000;

mod op {
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const FRAME: u8 = 0x95;
    pub(super) const STOP: u8 = b'.';
    pub(super) const MARK: u8 = b'(';
    pub(super) const NONE: u8 = b'N';
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const DICT: u8 = b'd';
    pub(super) const SET_ITEM: u8 = b's';
    pub(super) const SET_ITEMS: u8 = b'u';
    pub(super) const INT_1: u8 = b'K';
    pub(super) const INT_2: u8 = b'M';
    pub(super) const INT_4: u8 = b'J';
    pub(super) const LONG_1: u8 = 0x8a;
    pub(super) const INT: u8 = b'I';
    pub(super) const LONG: u8 = b'L';
    pub(super) const SHORT_BYTES: u8 = b'U';
    pub(super) const BYTES: u8 = b'T';
    pub(super) const SHORT_TEXT: u8 = 0x8c;
    pub(super) const TEXT: u8 = b'X';
    pub(super) const TEXT_LINE: u8 = b'V';
    pub(super) const PUT: u8 = b'p';
    pub(super) const PUT_1: u8 = b'q';
    pub(super) const PUT_4: u8 = b'r';
    pub(super) const MEMOIZE: u8 = 0x94;
    pub(super) const GET: u8 = b'g';
    pub(super) const GET_1: u8 = b'h';
    pub(super) const GET_4: u8 = b'j';
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `None`.
    None,
    /// A whole number.
    Int(i64),
    /// A `str`.
    Text(String),
    /// A `dict`, in its order.
    Dict(Vec<(Value, Value)>),
}

/// Why bytes are no such pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// They end early.
    #[error("the pickle ends early")]
    Short,
    /// Something that is not read here.
    #[error("the pickle has an instruction {0:#04x}, which is not read here")]
    Instruction(u8),
    /// An instruction finds not what it needs.
    #[error("the pickle is malformed")]
    Malformed,
    /// Dictionaries in dictionaries.
    #[error("the pickle is nested too deeply")]
    Deep,
}

impl Value {
    /// Protocol 2.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer { out: vec![op::PROTO, 2], memoized: 0 };
        writer.value(self);
        writer.out.push(op::STOP);
        writer.out
    }

    /// Reads one value, which must be all there is.
    pub fn decode(bytes: &[u8]) -> Result<Value, PickleError> {
        let mut reader =
            Reader { bytes, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        reader.run()?;
        match (reader.stack.pop(), reader.stack.is_empty() && reader.bytes.is_empty()) {
            (Some(Stacked { value, .. }), true) => Ok(value),
            _ => Err(PickleError::Malformed),
        }
    }
}

struct Writer {
    out: Vec<u8>,
    memoized: u32,
}

impl Writer {
    fn value(&mut self, value: &Value) {
        match value {
            Value::None => self.out.push(op::NONE),
            Value::Int(number) => self.int(*number),
            Value::Text(text) => {
                self.out.push(op::TEXT);
                self.out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                self.out.extend_from_slice(text.as_bytes());
                self.memoize();
            }
            Value::Dict(items) => {
                self.out.push(op::EMPTY_DICT);
                self.memoize();
                self.items(items);
            }
        }
    }

    fn int(&mut self, number: i64) {
        if let Ok(byte) = u8::try_from(number) {
            self.out.extend([op::INT_1, byte]);
        } else if let Ok(short) = u16::try_from(number) {
            self.out.push(op::INT_2);
            self.out.extend(short.to_le_bytes());
        } else if let Ok(word) = i32::try_from(number) {
            self.out.push(op::INT_4);
            self.out.extend(word.to_le_bytes());
        } else {
            let bytes = number.to_le_bytes();
            let fill = if number < 0 { 0xff } else { 0 };
            let mut len = bytes.len();
            while bytes[len - 1] == fill && (bytes[len - 2] ^ fill) & 0x80 == 0 {
                len -= 1;
            }
            self.out.extend([op::LONG_1, len as u8]);
            self.out.extend_from_slice(&bytes[..len]);
        }
    }

    fn items(&mut self, items: &[(Value, Value)]) {
        if let [(key, value)] = items {
            self.value(key);
            self.value(value);
            self.out.push(op::SET_ITEM);
            return;
        }
        for batch in items.chunks(BATCH) {
            self.out.push(op::MARK);
            for (key, value) in batch {
                self.value(key);
                self.value(value);
            }
            self.out.push(op::SET_ITEMS);
        }
        // CPython looks for more after each full batch.
        if !items.is_empty() && items.len().is_multiple_of(BATCH) {
            self.out.extend([op::MARK, op::SET_ITEMS]);
        }
    }

    fn memoize(&mut self) {
        match u8::try_from(self.memoized) {
            Ok(byte) => self.out.extend([op::PUT_1, byte]),
            Err(_) => {
                self.out.push(op::PUT_4);
                self.out.extend(self.memoized.to_le_bytes());
            }
        }
        self.memoized += 1;
    }
}

struct Stacked {
    value: Value,
    depth: usize,
}

struct Reader<'a> {
    bytes: &'a [u8],
    stack: Vec<Stacked>,
    marks: Vec<usize>,
    /// Text alone: a dictionary that stands in many places could grow without bound.
    memo: HashMap<i64, Value>,
}

impl<'a> Reader<'a> {
    fn run(&mut self) -> Result<(), PickleError> {
        loop {
            match self.u8()? {
                op::STOP => return Ok(()),
                op::PROTO => {
                    self.u8()?;
                }
                op::FRAME => {
                    self.take(8)?;
                }
                op::MARK => self.marks.push(self.stack.len()),
                op::NONE => self.push(Value::None),
                op::EMPTY_DICT => self.push(Value::Dict(Vec::new())),
                op::DICT => {
                    let items = self.since_mark()?;
                    self.push(Value::Dict(Vec::new()));
                    self.set(items)?;
                }
                op::SET_ITEM => {
                    let at = self.stack.len().checked_sub(2).ok_or(PickleError::Malformed)?;
                    let items = self.stack.split_off(at);
                    self.set(items)?;
                }
                op::SET_ITEMS => {
                    let items = self.since_mark()?;
                    self.set(items)?;
                }
                op::PUT => self.line_number().and_then(|at| self.remember(at))?,
                op::PUT_1 => self.u8().and_then(|at| self.remember(at.into()))?,
                op::PUT_4 => self.u32().and_then(|at| self.remember(at.into()))?,
                op::MEMOIZE => self.remember(self.memo.len() as i64)?,
                op::GET => self.line_number().and_then(|at| self.recall(at))?,
                op::GET_1 => self.u8().and_then(|at| self.recall(at.into()))?,
                op::GET_4 => self.u32().and_then(|at| self.recall(at.into()))?,
                other => {
                    let value = self.scalar(other)?;
                    self.push(value);
                }
            }
        }
    }

    fn scalar(&mut self, instruction: u8) -> Result<Value, PickleError> {
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map_err(|_| PickleError::Malformed)?;
            Ok(Value::Text(text.to_owned()))
        };
        match instruction {
            op::INT_1 => Ok(Value::Int(self.u8()?.into())),
            op::INT_2 => Ok(Value::Int(u16::from_le_bytes(self.array()?).into())),
            op::INT_4 => Ok(Value::Int(i32::from_le_bytes(self.array()?).into())),
            op::LONG_1 => {
                let len = usize::from(self.u8()?);
                let bytes = self.take(len)?;
                let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
                let mut whole = [if negative { 0xff } else { 0 }; 8];
                whole.get_mut(..len).ok_or(PickleError::Malformed)?.copy_from_slice(bytes);
                Ok(Value::Int(i64::from_le_bytes(whole)))
            }
            op::INT | op::LONG => Ok(Value::Int(self.line_number()?)),
            op::SHORT_BYTES | op::SHORT_TEXT => {
                let len = usize::from(self.u8()?);
                text(self.take(len)?)
            }
            op::BYTES | op::TEXT => {
                let len = self.u32()? as usize;
                text(self.take(len)?)
            }
            op::TEXT_LINE => {
                let line = self.line()?;
                // An escape says a character that no suffix and no digest has.
                if line.contains(&b'\\') { Err(PickleError::Malformed) } else { text(line) }
            }
            other => Err(PickleError::Instruction(other)),
        }
    }

    fn push(&mut self, value: Value) {
        let depth = usize::from(matches!(value, Value::Dict(_)));
        self.stack.push(Stacked { value, depth });
    }

    fn since_mark(&mut self) -> Result<Vec<Stacked>, PickleError> {
        let at = self.marks.pop().filter(|at| *at <= self.stack.len());
        Ok(self.stack.split_off(at.ok_or(PickleError::Malformed)?))
    }

    /// Keys and values, one after the other, go into the dictionary on top.
    fn set(&mut self, items: Vec<Stacked>) -> Result<(), PickleError> {
        let Some(Stacked { value: Value::Dict(into), depth }) = self.stack.last_mut() else {
            return Err(PickleError::Malformed);
        };
        let mut items = items.into_iter();
        while let Some(key) = items.next() {
            let value = items.next().ok_or(PickleError::Malformed)?;
            *depth = (*depth).max(value.depth + 1);
            if *depth > DEPTH_MAX {
                return Err(PickleError::Deep);
            }
            if matches!(key.value, Value::Dict(_)) {
                return Err(PickleError::Malformed);
            }
            into.push((key.value, value.value));
        }
        Ok(())
    }

    fn remember(&mut self, at: i64) -> Result<(), PickleError> {
        let top = self.stack.last().ok_or(PickleError::Malformed)?;
        let kept = match &top.value {
            // Counted all the same: MEMOIZE numbers whatever comes.
            Value::Dict(_) => Value::Dict(Vec::new()),
            scalar => scalar.clone(),
        };
        self.memo.insert(at, kept);
        Ok(())
    }

    fn recall(&mut self, at: i64) -> Result<(), PickleError> {
        match self.memo.get(&at) {
            None | Some(Value::Dict(_)) => Err(PickleError::Malformed),
            Some(scalar) => {
                let scalar = scalar.clone();
                self.push(scalar);
                Ok(())
            }
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], PickleError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(PickleError::Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        self.take(N)?.try_into().map_err(|_| PickleError::Short)
    }

    fn u8(&mut self) -> Result<u8, PickleError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, PickleError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn line(&mut self) -> Result<&'a [u8], PickleError> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n').ok_or(PickleError::Short)?;
        let line = self.take(end)?;
        self.take(1)?;
        Ok(line)
    }

    fn line_number(&mut self) -> Result<i64, PickleError> {
        let line = std::str::from_utf8(self.line()?).map_err(|_| PickleError::Malformed)?;
        line.trim_end_matches('L').parse().map_err(|_| PickleError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    /// What `pickle.dumps(value, protocol)` of CPython 3.11 gives.
    #[test]
    fn as_cpython_does() {
        let nested = Value::Dict(vec![(
            text("abc"),
            Value::Dict(vec![(Value::None, text("aa")), (Value::Int(0), text("bb"))]),
        )]);
        let golden: [(Value, &[u8]); 8] = [
            (Value::None, b"\x80\x02N."),
            (Value::Dict(vec![]), b"\x80\x02}q\x00."),
            (
                Value::Dict(vec![(text("abc"), text("d41d"))]),
                b"\x80\x02}q\x00X\x03\x00\x00\x00abcq\x01X\x04\x00\x00\x00d41dq\x02s.",
            ),
            (
                nested.clone(),
                b"\x80\x02}q\x00X\x03\x00\x00\x00abcq\x01}q\x02(NX\x02\x00\x00\x00aaq\x03K\x00X\x02\x00\x00\x00bbq\x04us.",
            ),
            (Value::Int(300), b"\x80\x02M,\x01."),
            (Value::Int(-1), b"\x80\x02J\xff\xff\xff\xff."),
            (Value::Int(1 << 40), b"\x80\x02\x8a\x06\x00\x00\x00\x00\x00\x01."),
            (Value::Int(-(1 << 39)), b"\x80\x02\x8a\x05\x00\x00\x00\x00\x80."),
        ];
        for (value, bytes) in golden {
            assert_eq!(value.encode(), bytes, "{value:?}");
            assert_eq!(Value::decode(bytes), Ok(value));
        }
        let others: [&[u8]; 3] = [
            b"(dp0\nVabc\np1\n(dp2\nNVaa\np3\nsI0\nVbb\np4\nss.",
            b"\x80\x04\x95\x1b\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x03abc\x94}\x94(N\x8c\x02aa\x94K\x00\x8c\x02bb\x94us.",
            b"\x80\x02}q\x00U\x03abcq\x01}q\x02(NU\x02aaq\x03K\x00U\x02bbq\x04us.",
        ];
        for bytes in others {
            assert_eq!(Value::decode(bytes), Ok(nested.clone()));
        }
    }

    /// MD5 of `pickle.dumps({"%03x" % i: "v%d" % i for i in range(n)}, 2)`.
    #[test]
    fn many_items_go_in_batches() {
        use md5::{Digest, Md5};
        let golden = [
            (2, "515e1892cc4199d9a402bac81e918faf"),
            (999, "6827a2a2c747f3e3a84fdd0eb23b057f"),
            (1000, "acc26044808b7764c65f99b78415ed2d"),
            (1001, "0c7547a97ea388601002121f83f64267"),
            (2000, "1e71eb9af32d20cc043bca9b01c8cc53"),
            (4096, "ae478dd0d9907a5c1a682c17e7b19331"),
        ];
        for (count, digest) in golden {
            let items = (0..count).map(|i| (text(&format!("{i:03x}")), text(&format!("v{i}"))));
            let dict = Value::Dict(items.collect());
            let bytes = dict.encode();
            assert_eq!(types::hex_encode(&Md5::digest(&bytes)), digest, "{count}");
            assert_eq!(Value::decode(&bytes), Ok(dict));
        }
    }

    #[test]
    fn what_is_no_data_is_refused() {
        let call = b"cos\nsystem\n(Vtrue\ntR.";
        assert_eq!(Value::decode(call), Err(PickleError::Instruction(b'c')));
        for bad in
            [b".".as_slice(), b"NN.", b"s.", b"u.", b"}(Nu.", b"h\x01.", b"}q\x00h\x00.", b"N.N"]
        {
            assert_eq!(Value::decode(bad), Err(PickleError::Malformed), "{bad:?}");
        }
        let deep = [b"}N".repeat(20), b"N".to_vec(), b"s".repeat(20), b".".to_vec()].concat();
        assert_eq!(Value::decode(&deep), Err(PickleError::Deep));
    }

    fn value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::None),
            any::<i64>().prop_map(Value::Int),
            ".{0,300}".prop_map(Value::Text),
        ];
        let key = scalar.clone();
        scalar.prop_recursive(4, 64, 8, move |inner| {
            proptest::collection::vec((key.clone(), inner), 0..8).prop_map(Value::Dict)
        })
    }

    proptest! {
        #[test]
        fn round_trips(value in value()) {
            prop_assert_eq!(Value::decode(&value.encode()), Ok(value));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Value::decode(&bytes);
        }
    }
}
