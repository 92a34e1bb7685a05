//! The files of the console, by path. The folders of `static/`, in reading order; a module imports from its own folder and from
//! those before it (`tests/tidy/scripts.rs`):
//!
//! | folder | what it does |
//! |---|---|
//! | `values` | elements, amounts, times, states, colours: how one value is shown |
//! | `node` | requests, the stream of events, what is known of the node that answers |
//! | `frame` | what surrounds every page: sections, keys, sign-in |
//! | `parts` | what pages share: tables, curves, certificate, state of the cluster |
//! | `diagram` | the space-time diagram of a cut |
//! | `pages` | the pages |
//! | `styles` | the style sheets |

/// One file.
pub(super) struct File {
    /// Its path in `/console/`: `{file}` or `{folder}/{file}`.
    pub(super) name: &'static str,
    pub(super) content: &'static [u8],
}

macro_rules! own {
    ($name:literal) => {
        File {
            name: $name,
            content: include_bytes!(concat!("static/", $name)),
        }
    };
}

// A file of another project, with its licence and `vendor.toml` in `vendor/`.
macro_rules! vendored {
    ($name:literal, $path:literal) => {
        File {
            name: $name,
            content: include_bytes!(concat!("../../../../vendor/", $path)),
        }
    };
}

/// All of them.
pub(super) const FILES: &[File] = &[
    own!("diagram/draw.js"),
    own!("diagram/model.js"),
    own!("diagram/svg_file.js"),
    own!("diagram/view.js"),
    own!("frame/keys.js"),
    own!("frame/shell.js"),
    own!("frame/sign_in.js"),
    own!("icon.svg"),
    own!("main.js"),
    own!("node/api.js"),
    own!("node/events.js"),
    own!("node/json.js"),
    own!("node/live.js"),
    own!("node/node.js"),
    own!("node/watch.js"),
    own!("pages/account.js"),
    own!("pages/account_curve.js"),
    own!("pages/audit.js"),
    own!("pages/audit_curve.js"),
    own!("pages/audit_tables.js"),
    own!("pages/cluster.js"),
    own!("pages/compare.js"),
    own!("pages/flight.js"),
    own!("pages/overview.js"),
    own!("pages/snapshot.js"),
    own!("pages/snapshot_steps.js"),
    own!("pages/snapshot_tables.js"),
    own!("pages/snapshots.js"),
    own!("pages/take.js"),
    own!("parts/certificate.js"),
    own!("parts/chart.js"),
    own!("parts/equation.js"),
    own!("parts/health.js"),
    own!("parts/snapshot_columns.js"),
    own!("parts/snapshot_list.js"),
    own!("parts/strip.js"),
    own!("parts/table.js"),
    own!("parts/timespan.js"),
    own!("styles/frame.css"),
    own!("styles/narrow.css"),
    own!("styles/pages.css"),
    own!("styles/parts.css"),
    own!("values/dom.js"),
    own!("values/money.js"),
    own!("values/settings.js"),
    own!("values/status.js"),
    own!("values/time.js"),
    vendored!("vendor/inter.woff2", "inter/inter-latin-wght-normal.woff2"),
    vendored!("vendor/uplot.css", "uplot/uPlot.min.css"),
    vendored!("vendor/uplot.js", "uplot/uPlot.iife.min.js"),
];

impl File {
    /// The media type, by the end of the name.
    pub(super) fn media_type(&self) -> &'static str {
        match self.name.rsplit_once('.') {
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            Some((_, "woff2")) => "font/woff2",
            _ => "application/octet-stream",
        }
    }

    /// Whether it is one of our modules, which import each other.
    pub(super) fn is_module(&self) -> bool {
        self.name.ends_with(".js") && !self.is_vendored()
    }

    /// Whether it is of another project.
    pub(super) fn is_vendored(&self) -> bool {
        self.name.starts_with("vendor/")
    }
}
