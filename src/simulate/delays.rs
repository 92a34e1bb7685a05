//! The delay digits, read from a text or drawn from a seed. Each sent message takes the next digit.

use super::error::{Reason, ScenarioError};
use super::source::Source;
use crate::process::ids::ProcessId;

/// The greatest delay in ticks, in addition to the one tick that every message takes.
const DELAY_MAX: u8 = 4;

/// Delay digits in the order in which they are drawn.
#[derive(Debug, Clone)]
pub struct Delays(Origin);

#[derive(Debug, Clone)]
enum Origin {
    Written {
        digits: Box<[u8]>,
        drawn: usize,
        file: Box<str>,
        lines: usize,
    },
    Seeded(SplitMix64),
}

impl Delays {
    /// Reads the digits of a text; whitespace is ignored.
    ///
    /// # Errors
    /// [`ScenarioError`] at the first character that is neither a digit from 0 to 4 nor whitespace.
    pub fn parse(source: Source<'_>) -> Result<Self, ScenarioError> {
        let mut digits = Vec::new();
        let mut lines = 0;
        for (line, text) in source.lines() {
            lines = line;
            for c in text.chars().filter(|c| !c.is_whitespace()) {
                let digit = c.to_digit(u32::from(DELAY_MAX) + 1);
                let digit = digit.and_then(|digit| u8::try_from(digit).ok());
                digits.push(digit.ok_or_else(|| source.refuse(line, Reason::Digit(c)))?);
            }
        }
        Ok(Self(Origin::Written {
            digits: digits.into(),
            drawn: 0,
            file: source.name.into(),
            lines: lines.max(1),
        }))
    }

    /// An endless sequence of digits from a generator. The same seed gives the same digits on every machine.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Origin::Seeded(SplitMix64(seed)))
    }

    /// The next digit, 0 to 4; `None` when all are used.
    pub(super) fn draw(&mut self) -> Option<u8> {
        match &mut self.0 {
            Origin::Written { digits, drawn, .. } => {
                let digit = digits.get(*drawn).copied();
                *drawn += usize::from(digit.is_some());
                digit
            }
            Origin::Seeded(generator) => {
                let digit = generator.next() % (u64::from(DELAY_MAX) + 1);
                u8::try_from(digit).ok()
            }
        }
    }

    /// The error if `process` sends at `tick` and no digit is left.
    pub(super) fn used_up(&self, tick: u64, process: &ProcessId) -> Reason {
        let (digits, file) = match &self.0 {
            Origin::Written { digits, file, .. } => (digits.len(), file.clone()),
            Origin::Seeded(_) => unreachable!("a seed has no end"),
        };
        Reason::DelaysUsedUp {
            digits,
            file,
            tick,
            process: process.clone(),
        }
    }

    /// Locates an error after the last event. Only exhausted delays can cause one there, so it is located at their end.
    pub(super) fn refuse_at_end(&self, reason: Reason) -> ScenarioError {
        let (file, line) = match &self.0 {
            Origin::Written { file, lines, .. } => (file.clone(), *lines),
            Origin::Seeded(_) => ("seed".into(), 1),
        };
        ScenarioError { file, line, reason }
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014); ten lines replace a dependency. Since 2^64 is not a multiple of 5, digits
/// are biased by less than one in 10^18.
#[derive(Debug, Clone)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source<'_> {
        Source {
            name: "delays.txt",
            text,
        }
    }

    #[test]
    fn digits_are_read_across_whitespace_until_they_are_used_up() {
        let mut delays = Delays::parse(source("01 2\n\t34\r\n")).expect("digits");
        let drawn: Vec<_> = std::iter::from_fn(|| delays.draw()).collect();
        assert_eq!(drawn, [0, 1, 2, 3, 4]);
        assert_eq!(delays.draw(), None);
    }

    #[test]
    fn what_is_no_delay_is_named_with_its_line() {
        for odd in ['5', 'x', '-', '٣'] {
            let refused = Delays::parse(source(&format!("01\n2{odd}"))).expect_err("no delay");
            assert_eq!((refused.line, refused.reason), (2, Reason::Digit(odd)));
        }
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // The first values for seed 1234567 of the reference implementation in C.
        let mut generator = SplitMix64(1_234_567);
        assert_eq!(generator.next(), 6_457_827_717_110_365_317);
        assert_eq!(generator.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn a_seed_draws_every_digit_and_nothing_else() {
        let mut delays = Delays::seeded(7);
        let mut counts = [0; 5];
        for _ in 0..1000 {
            counts[usize::from(delays.draw().expect("a seed has no end"))] += 1;
        }
        assert!(counts.iter().all(|count| *count > 150), "{counts:?}");
    }
}
