//! The page at `/`: the REST API for people, rendered here from the same document, without scripts and
//! without anything of another origin.

use std::fmt::Write as _;

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};

use crate::api::openapi::{OPERATIONS, document};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
code,pre{font-family:ui-monospace,monospace;font-size:.9em}pre{padding:.6rem .8rem;border:1px solid #8885;border-radius:.3rem;overflow-x:auto}
h2{margin-top:2.2rem;font-size:1.1rem}h2 code{font-size:1em}.m{text-transform:uppercase;font-weight:700}
table{border-collapse:collapse}td{padding:.15rem 1rem .15rem 0;vertical-align:top}";

/// The page.
pub(super) fn page() -> Response {
    let headers: [(HeaderName, HeaderValue); 2] = [
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
        ),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, Html(html())).into_response()
}

fn html() -> String {
    let document = document();
    let mut page = String::with_capacity(16 * 1024);
    let title = text(&document["info"]["title"]);
    let about = text(&document["info"]["description"]);
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title><style>{STYLE}</style>\n<h1>{title}</h1><p>{about}</p><p><a href=/openapi.json>openapi.json</a></p>\n"
    );
    for operation in OPERATIONS {
        let described = &document["paths"][operation.path][operation.method];
        let _ = write!(
            page,
            "<section id={}><h2><code><span class=m>{}</span> {}</code></h2><p>{}. {}</p>\n<table>",
            operation.id,
            operation.method,
            operation.path,
            text(&described["summary"]),
            text(&described["description"]),
        );
        for parameter in described["parameters"].as_array().into_iter().flatten() {
            let _ = write!(
                page,
                "<tr><td><code>{}</code><td>{}<td>{}",
                text(&parameter["name"]),
                text(&parameter["in"]),
                text(&parameter["description"]),
            );
        }
        for (code, response) in described["responses"].as_object().into_iter().flatten() {
            let _ =
                write!(page, "<tr><td><code>{code}</code><td>answer<td>{}", text(&response["description"]));
        }
        let example = escape(&operation.example.replace("HOST", "127.0.0.1:7451"));
        let _ = writeln!(page, "</table><pre>{example}</pre></section>");
    }
    page
}

fn text(value: &serde_json::Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_operation_and_loads_nothing() {
        let html = html();
        for operation in OPERATIONS {
            assert!(html.contains(&format!("<section id={}>", operation.id)), "{}", operation.id);
        }
        for foreign in ["<script", "src=", "@import", "url("] {
            assert!(!html.contains(foreign), "{foreign}");
        }
    }
}
