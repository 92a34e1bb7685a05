//! Progress bars on a terminal, one line wide; hidden if stderr is a file or a pipe.

use std::fmt::Write;

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

/// For work in steps; the message names the step.
pub(super) const STEPS: &str = "{msg:8} {wide_bar} {human_pos}/{human_len} eta {eta}";
/// For counted work, with its rate; the message comes last.
pub(super) const PACE: &str = "{wide_bar} {human_pos}/{human_len} {pace} eta {eta} {msg}";

/// For a number of bytes that is not known in advance.
pub(super) const BYTES: &str = "{spinner} {binary_bytes} {binary_bytes_per_sec} {msg}";

/// A bar of `total` units.
pub(super) fn bar(total: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    let style = style.expect("the template is a constant that parses");
    ProgressBar::new(total).with_style(style.with_key("pace", pace))
}

// Whole operations per second; fractions are not meaningful.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a pace is positive, and no number of operations reaches the bound"
)]
fn pace(state: &ProgressState, written: &mut dyn Write) {
    let whole = HumanCount(state.per_sec().round() as u64);
    // Writing to a string cannot fail.
    _ = write!(written, "{whole}/s");
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::{ProgressDrawTarget, TermLike};
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    const COLUMNS: u16 = 80;

    /// A terminal that keeps what is written to it.
    #[derive(Debug, Clone, Default)]
    struct Terminal(Arc<Mutex<String>>);

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            COLUMNS
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)?;
            self.write_str("\n")
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            written.push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.write_str("\n")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    // Without this the line of a long run wraps on a terminal of usual width and is redrawn below itself.
    #[test]
    fn a_bar_fits_its_terminal_and_counts_whole_operations() {
        for template in [PACE, STEPS] {
            let terminal = Terminal::default();
            let bar = bar(2_000_000_000, template);
            bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
            bar.set_message("refused 1000000");
            bar.set_position(1_234_567_890);
            bar.tick();
            bar.abandon();
            let written = terminal.0.lock().unwrap_or_else(PoisonError::into_inner);
            let lines: Vec<&str> = written.lines().filter(|line| !line.is_empty()).collect();
            assert!(!lines.is_empty());
            for line in &lines {
                let columns = line.trim_end().chars().count();
                assert!(columns <= usize::from(COLUMNS), "{columns}: {line}");
            }
            let last = lines.last().expect("there is one");
            assert!(last.contains("1,234,567,890/2,000,000,000"), "{last}");
            let pace = last.split(' ').find(|word| word.ends_with("/s"));
            assert!(pace.is_none_or(|pace| !pace.contains('.')), "{last}");
            assert_eq!(pace.is_some(), template == PACE, "{last}");
        }
    }
}
