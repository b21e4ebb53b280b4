//! Swift's timestamps (Swift: common/utils/timestamp.py).
//!
//! A moment in units of 10 µs since 1970, with an offset that internal services use to order things that
//! carry the same moment. Three texts of it travel:
//!
//! - normal: `1402464677.04188`
//! - internal: normal, plus `_%016x` of the offset when there is one
//! - short: normal, plus `_%x` of the offset when there is one
//!
//! The order of timestamps is the order of their internal form, which is the order of (moment, offset).

use std::fmt;

/// A moment and its offset. `Default` is the beginning of time, older than anything real.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Units of 10 µs since 1970.
    pub raw: u64,
    /// Tie breaker set by internal services only.
    pub offset: u64,
}

/// Text that is no timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a timestamp: seconds from 0 to 9999999999 are expected, like 1402464677.04188")]
pub struct TimestampError;

const UNITS_PER_SECOND: u64 = 100_000;
const RAW_MAX: u64 = 10_000_000_000 * UNITS_PER_SECOND - 1;

impl Timestamp {
    /// From units of 10 µs since 1970; later than the year 2286 is clamped.
    pub fn from_raw(raw: u64) -> Self {
        Timestamp { raw: raw.min(RAW_MAX), offset: 0 }
    }

    /// From microseconds since 1970.
    pub fn from_micros(micros: u64) -> Self {
        Timestamp::from_raw(micros / 10)
    }

    /// From whole seconds since 1970.
    pub fn from_seconds(seconds: u64) -> Self {
        Timestamp::from_raw(seconds.saturating_mul(UNITS_PER_SECOND))
    }

    /// Parses any of the three forms, and integers and floats of seconds.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let (seconds, offset) = match text.split_once('_') {
            None => (text, 0),
            Some((seconds, hex)) => {
                let hex_ok =
                    (1..=16).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
                let offset = u64::from_str_radix(hex, 16).map_err(|_| TimestampError)?;
                (seconds, hex_ok.then_some(offset).ok_or(TimestampError)?)
            }
        };
        Ok(Timestamp { raw: parse_seconds(seconds)?, offset })
    }

    /// Seconds with five decimals, without the offset.
    pub fn normal(&self) -> String {
        if self.raw > RAW_MAX {
            return format!(
                "{:010}.{:05}",
                self.raw / UNITS_PER_SECOND,
                self.raw % UNITS_PER_SECOND
            );
        }
        // Digit by digit, which is cheaper than formatting: every answer about an object says three of these.
        let mut text = *b"0000000000.00000";
        let mut rest = self.raw;
        for digit in text.iter_mut().rev().filter(|digit| **digit != b'.') {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        std::str::from_utf8(&text).unwrap_or_default().to_owned()
    }

    /// The canonical form; equal texts are equal timestamps.
    pub fn internal(&self) -> String {
        match self.offset {
            0 => self.normal(),
            offset => format!("{}_{offset:016x}", self.normal()),
        }
    }

    /// The form of `.meta` names and container rows.
    pub fn short(&self) -> String {
        match self.offset {
            0 => self.normal(),
            offset => format!("{}_{offset:x}", self.normal()),
        }
    }

    /// The moment as far from the end of time as this one is from its beginning, so that the latest comes first
    /// (Swift: `~Timestamp`). Twice, it is itself.
    pub fn inverted(&self) -> Self {
        let raw = RAW_MAX.saturating_sub(self.raw);
        match self.offset {
            0 => Timestamp { raw, offset: 0 },
            offset => Timestamp { raw: raw.saturating_sub(1), offset: offset.wrapping_neg() },
        }
    }

    /// Seconds since 1970, rounded up, as `Last-Modified` wants it.
    pub fn ceil_seconds(&self) -> u64 {
        self.raw.div_ceil(UNITS_PER_SECOND)
    }

    /// Whole seconds since 1970.
    pub fn seconds(&self) -> u64 {
        self.raw / UNITS_PER_SECOND
    }

    /// The text of a `Last-Modified` header.
    pub fn http_date(&self) -> String {
        let since = std::time::Duration::from_secs(self.ceil_seconds());
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + since.min(HTTP_DATE_MAX))
    }

    /// The form of listings: `2014-06-11T05:31:17.041880`.
    pub fn isoformat(&self) -> String {
        let (seconds, micros) = (self.seconds(), (self.raw % UNITS_PER_SECOND) * 10);
        let (year, month, day) = civil_from_days(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        if year > 9999 {
            return format!(
                "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}"
            );
        }
        // Digit by digit, which is cheaper than formatting: a page says ten thousand of these.
        let mut text = *b"0000-00-00T00:00:00.000000";
        let fields =
            [(4, year), (2, month), (2, day), (2, hour), (2, minute), (2, second), (6, micros)];
        let mut from = 0;
        for (width, mut value) in fields {
            for digit in text[from..from + width].iter_mut().rev() {
                *digit += (value % 10) as u8;
                value /= 10;
            }
            from += width + 1;
        }
        std::str::from_utf8(&text).unwrap_or_default().to_owned()
    }
}

/// httpdate's formatter ends at the year 9999, which is after [`RAW_MAX`]; this only keeps the sum in range.
const HTTP_DATE_MAX: std::time::Duration = std::time::Duration::from_secs(10_000_000_000);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.internal())
    }
}

impl std::str::FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Timestamp::parse(s)
    }
}

/// Seconds as decimal text, rounded to 10 µs. Exact where Swift's float would be, and for more digits too.
fn parse_seconds(text: &str) -> Result<u64, TimestampError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(TimestampError);
    }
    let seconds: u64 = match whole {
        "" => 0,
        _ => whole.parse().map_err(|_| TimestampError)?,
    };
    let mut units = 0u64;
    let mut bytes = fraction.bytes();
    for _ in 0..5 {
        units = units * 10 + u64::from(bytes.next().map_or(0, |b| b - b'0'));
    }
    let round_up = bytes.next().is_some_and(|b| b >= b'5');
    seconds
        .checked_mul(UNITS_PER_SECOND)
        .and_then(|raw| raw.checked_add(units + u64::from(round_up)))
        .filter(|raw| *raw <= RAW_MAX)
        .ok_or(TimestampError)
}

/// Days since 1970 to year, month and day of the proleptic Gregorian calendar.
pub fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // days since 0000-03-01
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The three moments of a container row: of its data, its content type and its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowTimestamps {
    /// When the data was written.
    pub data: Timestamp,
    /// When the content type was set.
    pub content_type: Timestamp,
    /// When the metadata was set.
    pub meta: Timestamp,
}

/// `short(data)`, then the signed hex deltas of content type and metadata unless all three are equal
/// (Swift: `encode_timestamps`). Offsets of the second and third are lost.
pub fn encode_row_timestamps(row: RowTimestamps) -> String {
    let mut out = row.data.short();
    if row.content_type != row.data || row.meta != row.data {
        push_delta(&mut out, row.data.raw, row.content_type.raw);
        push_delta(&mut out, row.content_type.raw, row.meta.raw);
    }
    out
}

fn push_delta(out: &mut String, from: u64, to: u64) {
    let sign = if to >= from { '+' } else { '-' };
    out.push(sign);
    out.push_str(&format!("{:x}", to.abs_diff(from)));
}

/// The inverse of [`encode_row_timestamps`]; a missing component is the one before it.
pub fn decode_row_timestamps(text: &str) -> Result<RowTimestamps, TimestampError> {
    let mut rest = text;
    let first_end = rest.find(['+', '-']).unwrap_or(rest.len());
    let data = Timestamp::parse(&rest[..first_end])?;
    rest = &rest[first_end..];
    let mut next = |previous: Timestamp| -> Result<Timestamp, TimestampError> {
        let Some(sign) = rest.bytes().next() else { return Ok(previous) };
        let tail = &rest[1..];
        let end = tail.find(['+', '-']).unwrap_or(tail.len());
        let delta = u64::from_str_radix(&tail[..end], 16).map_err(|_| TimestampError)?;
        rest = &tail[end..];
        let raw = match sign {
            b'+' => previous.raw.checked_add(delta),
            _ => previous.raw.checked_sub(delta),
        };
        match raw.filter(|raw| *raw <= RAW_MAX) {
            None => Err(TimestampError),
            Some(_) if delta == 0 => Ok(previous),
            Some(raw) => Ok(Timestamp { raw, offset: 0 }),
        }
    };
    let content_type = next(data)?;
    let meta = next(content_type)?;
    if rest.is_empty() {
        Ok(RowTimestamps { data, content_type, meta })
    } else {
        Err(TimestampError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ts(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    #[test]
    fn inverts_as_swift_does() {
        assert_eq!(ts("1402464677.04188").inverted().internal(), "8597535322.95811");
        assert_eq!(ts("0").inverted().internal(), "9999999999.99999");
        let offset = ts("1402464677.04188_1").inverted();
        assert_eq!(offset.internal(), "8597535322.95810_ffffffffffffffff");
    }

    #[test]
    fn the_three_forms() {
        let plain = ts("1402464677.04188");
        assert_eq!(plain.internal(), "1402464677.04188");
        let offset = Timestamp { offset: 1, ..plain };
        assert_eq!(offset.internal(), "1402464677.04188_0000000000000001");
        assert_eq!(offset.short(), "1402464677.04188_1");
        assert_eq!(ts(&offset.internal()), offset);
        assert!(offset > plain);
        assert_eq!(ts("1").normal(), "0000000001.00000");
        assert_eq!(ts("1.000005").raw, 100_001);
    }

    #[test]
    fn refuses_what_is_none() {
        for bad in
            ["", ".", "-1", "1e3", "10000000000", "1_", "1_x", "1_1_1", "nan", "1_+1", "1.2.3"]
        {
            assert_eq!(Timestamp::parse(bad), Err(TimestampError), "{bad}");
        }
    }

    #[test]
    fn refuses_what_overflows_while_it_is_read() {
        for big in ["184467440737095.99999", "184467440737095.516155", "9999999999.999999"] {
            assert_eq!(Timestamp::parse(big), Err(TimestampError), "{big}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(ts("1402464677.04188").isoformat(), "2014-06-11T05:31:17.041880");
        assert_eq!(ts("1402464677.04188").http_date(), "Wed, 11 Jun 2014 05:31:18 GMT");
        assert_eq!(ts("951782400").isoformat(), "2000-02-29T00:00:00.000000");
        assert_eq!(ts("9999999999.99999").isoformat(), "2286-11-20T17:46:39.999990");
        let beyond = Timestamp { raw: u64::MAX, offset: 0 };
        assert_eq!(beyond.isoformat(), "5847510-06-30T08:18:15.516150");
    }

    #[test]
    fn row_timestamps_as_swift_writes_them() {
        let row = RowTimestamps {
            data: ts("1402464677.04188"),
            content_type: ts("1402464678.0"),
            meta: ts("1402464679.5"),
        };
        assert_eq!(encode_row_timestamps(row), "1402464677.04188+17644+249f0");
        assert_eq!(decode_row_timestamps("1402464677.04188+17644+249f0"), Ok(row));
        let earlier = decode_row_timestamps("1402464677.00000-186a0").expect("decodes");
        assert_eq!(earlier.content_type, ts("1402464676.0"));
        for bad in ["1+", "1+1+1+1", "1-ffffffff", "+1", "1ü"] {
            assert_eq!(decode_row_timestamps(bad), Err(TimestampError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_ten_digits_and_five(raw in prop_oneof![any::<u64>(), 0..=RAW_MAX]) {
            let text = format!("{:010}.{:05}", raw / UNITS_PER_SECOND, raw % UNITS_PER_SECOND);
            prop_assert_eq!(Timestamp { raw, offset: 0 }.normal(), text);
        }

        #[test]
        fn internal_round_trips_and_orders(a in 0..=RAW_MAX, x in 0u64..4, b in 0..=RAW_MAX, y in 0u64..4) {
            let (a, b) = (Timestamp { raw: a, offset: x }, Timestamp { raw: b, offset: y });
            prop_assert_eq!(ts(&a.internal()), a);
            prop_assert_eq!(ts(&a.short()), a);
            prop_assert_eq!(a.cmp(&b), a.internal().cmp(&b.internal()));
        }

        #[test]
        fn inverted_the_later_is_the_earlier(a in 0..RAW_MAX, x in 0u64..4, b in 0..RAW_MAX, y in 0u64..4) {
            let (a, b) = (Timestamp { raw: a, offset: x }, Timestamp { raw: b, offset: y });
            prop_assert_eq!(a.inverted().inverted(), a);
            prop_assert_eq!(a.cmp(&b), b.inverted().cmp(&a.inverted()));
        }

        #[test]
        fn row_timestamps_round_trip(a in 0..=RAW_MAX, b in 0..=RAW_MAX, c in 0..=RAW_MAX) {
            let of = Timestamp::from_raw;
            let row = RowTimestamps { data: of(a), content_type: of(b), meta: of(c) };
            prop_assert_eq!(decode_row_timestamps(&encode_row_timestamps(row)), Ok(row));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = Timestamp::parse(&text);
            let _ = decode_row_timestamps(&text);
        }

        #[test]
        fn never_panics_on_numbers(
            seconds in prop_oneof![
                "[0-9]{0,22}",
                // Where a product or a sum just fits, or just does not.
                (0u64..3).prop_map(|less| (u64::MAX / UNITS_PER_SECOND - less).to_string()),
                (0u64..3).prop_map(|less| (RAW_MAX / UNITS_PER_SECOND + 1 - less).to_string()),
            ],
            rest in prop_oneof!["(\\.[0-9]{0,8})?", "\\.9{4,8}"],
            tail in "(_[0-9a-f]{0,17})?([+-][0-9a-f]{0,17}){0,3}",
        ) {
            let text = format!("{seconds}{rest}");
            let _ = Timestamp::parse(&text);
            let _ = Timestamp::parse(&format!("{text}{tail}"));
            let _ = decode_row_timestamps(&format!("{text}{tail}"));
        }
    }
}
