//! What a reader of a picture relies on.

use super::*;

// Two processes, one message in flight, one marker.
fn picture() -> Picture {
    Picture {
        title: "Snapshot <first>".to_owned(),
        axis: Axis {
            from: -10_000,
            to: 20_000,
            origin: 0,
            unit: Unit::Us,
        },
        lanes: ["n1", "n2"]
            .map(|name| Lane {
                name: name.to_owned(),
                note: "recorded".to_owned(),
                is_absent: false,
            })
            .to_vec(),
        cuts: vec![Cut {
            name: "first".to_owned(),
            points: vec![Some(0), Some(4_000)],
            is_complete: true,
        }],
        recordings: vec![Recording {
            lane: 0,
            from: 0,
            to: Some(9_000),
            label: "n2→n1".to_owned(),
        }],
        markers: vec![Marker {
            from: 1,
            to: 0,
            sent: 4_000,
            delivered: 9_000,
        }],
        messages: vec![Message {
            from: 1,
            to: 0,
            sent: Some(-5_000),
            delivered: Some(6_000),
            amount: Some(123_456),
            crosses: true,
        }],
        amounts: Amounts {
            exponent: 2,
            label: "EUR".to_owned(),
        },
        remarks: Vec::new(),
    }
}

#[test]
fn the_document_is_whole_and_says_in_words_what_it_shows() {
    let svg = picture().svg();
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    assert!(svg.ends_with("</svg>\n"));
    for part in [
        "<title id=\"t\">Snapshot &lt;first&gt;</title>",
        "1 of 1 messages cross the cut, with 1,234.56 in sum.",
        ">1,234.56</text>",
        "+5 ms",
        "prefers-color-scheme:dark",
        "n2→n1",
    ] {
        assert!(svg.contains(part), "{part} is not in {svg}");
    }
    assert!(
        !svg.contains("href") && !svg.contains("<script"),
        "nothing is loaded or run"
    );
}

#[test]
fn a_terminal_shows_the_cut_and_lists_what_crosses() {
    let text = picture().text(80, false);
    let lines: Vec<&str> = text.lines().collect();
    let lane = lines
        .iter()
        .find(|line| line.starts_with("n1 "))
        .expect("its line");
    assert!(lane.contains('◆') && lane.contains('▲'), "{text}");
    assert!(
        text.contains("1 message crosses the cut, with 1,234.56 in sum"),
        "{text}"
    );
    assert!(text.contains("sent −5.0 ms, delivered +6.0 ms"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours without a terminal");
    assert!(picture().text(80, true).contains("\u{1b}[35m"));
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}

// Without this, names from a server could control the terminal of whoever looks, or break the document.
#[test]
fn names_control_nothing() {
    let mut odd = picture();
    odd.lanes[0].name = "\u{1b}]0;x\u{7}<&\u{202e}".to_owned();
    let (text, svg) = (odd.text(80, false), odd.svg());
    for c in ['\u{1b}', '\u{7}', '\u{202e}'] {
        assert!(!text.contains(c) && !svg.contains(c), "{c:?}");
    }
    assert!(svg.contains("&lt;&amp;"));
}

#[test]
fn what_is_not_known_is_drawn_and_said() {
    let mut gone = picture();
    gone.messages[0].sent = None;
    gone.messages[0].delivered = None;
    assert!(
        gone.text(80, false)
            .contains("sent not known, delivered not known")
    );
    assert!(gone.svg().contains("flight open"));
    gone.cuts[0].points = vec![None, None];
    gone.lanes.clear();
    gone.recordings.clear();
    let _ = (gone.text(1, true), gone.svg());
}
