//! Runs each fixture of `fixtures/` as a test, on every path; `build.sh` builds the object first.

fn main() -> std::process::ExitCode {
    xdproof::fixtures::main(env!("CARGO_MANIFEST_DIR"), "fixtures")
}
