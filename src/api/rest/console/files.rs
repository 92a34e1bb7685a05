//! The files of the console, by name.

/// One file.
pub(super) struct File {
    /// Its name in `/console/{file}`.
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
    own!("account.js"),
    own!("api.js"),
    own!("audit.js"),
    own!("certificate.js"),
    own!("chart.js"),
    own!("cluster.js"),
    own!("compare.js"),
    own!("console.css"),
    own!("diagram.js"),
    own!("diagram_draw.js"),
    own!("diagram_view.js"),
    own!("dom.js"),
    own!("health.js"),
    own!("icon.svg"),
    own!("json.js"),
    own!("keys.js"),
    own!("live.js"),
    own!("main.js"),
    own!("money.js"),
    own!("narrow.css"),
    own!("node.js"),
    own!("overview.js"),
    own!("pages.css"),
    own!("parts.css"),
    own!("settings.js"),
    own!("shell.js"),
    own!("sign_in.js"),
    own!("snapshot.js"),
    own!("snapshot_tables.js"),
    own!("snapshots.js"),
    own!("status.js"),
    own!("strip.js"),
    own!("svg_file.js"),
    own!("table.js"),
    own!("take.js"),
    own!("time.js"),
    own!("watch.js"),
    vendored!("inter.woff2", "inter/inter-latin-wght-normal.woff2"),
    vendored!("uplot.css", "uplot/uPlot.min.css"),
    vendored!("uplot.js", "uplot/uPlot.iife.min.js"),
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
        matches!(self.name, "inter.woff2" | "uplot.css" | "uplot.js")
    }
}
