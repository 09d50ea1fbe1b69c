//! The end of the output of `ci/test`: the summary, and behind it the reason of each failed step. All programs that it runs are
//! stand-ins.

#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// A work tree with `ci/test` in it, and stand-ins for everything that it runs.
struct WorkTree(TempDir);

impl WorkTree {
    /// `cargo` is a script.
    fn with(cargo: &str) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        let script = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("test")).unwrap();
        tree.write("ci/test", &script);
        for quiet in [
            "ci/bootstrap",
            "ci/matrix",
            "bin/shellcheck",
            "bin/ip",
            "bin/lsns",
            "bin/bpftool",
            "bin/make",
            "harness/examples/aya-firewall/build.sh",
            "target/debug/xdproof",
        ] {
            tree.write(quiet, "#!/bin/sh\n");
        }
        tree.write("bin/setpriv", "#!/bin/sh\n");
        tree.write("bin/sudo", "#!/bin/sh\n[ \"$1\" = -v ] && exit\n[ \"$1\" = -E ] && shift\nexec \"$@\"\n");
        // The tests of an example are not those of the workspace.
        let example = "case $* in *--manifest-path*) exit ;; esac\n";
        tree.write("bin/cargo", &format!("#!/bin/sh\n{example}{cargo}"));
        tree
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs `ci/test`; returns its exit code and what it prints from the summary on.
    fn run(&self) -> (i32, String) {
        let path = format!("{}:{}", self.0.path().join("bin").display(), std::env::var("PATH").unwrap());
        let output = Command::new(self.0.path().join("ci/test"))
            .env("PATH", path)
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("XDPROOF_REQUIRE_PRIVILEGED")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let at = text.find("\n== summary\n");
        assert!(at.is_some(), "no summary: {text}");
        (output.status.code().unwrap(), text[at.unwrap()..].to_owned())
    }
}

/// Tests that pass: more of them as root.
const PASSING: &str = "[ \"$XDPROOF_REQUIRE_PRIVILEGED\" ] && passed=3 || passed=2
[ $1 = test ] && echo \"test result: ok. $passed passed; 0 failed; 0 ignored\"
exit 0\n";

#[test]
fn nothing_follows_the_summary_of_a_run_that_passes() {
    let (code, end) = WorkTree::with(PASSING).run();
    assert_eq!((code, end.lines().count()), (0, 12), "{end}");
    assert!(end.lines().skip(2).all(|line| line.starts_with("passed ")), "{end}");
}

#[test]
fn the_reason_of_a_failed_test_is_the_end_of_the_log() {
    let cargo = "[ $1 = test ] || exit 0
cat <<'END'
     Running tests/devices/main.rs (target/debug/deps/devices-1)

running 3 tests
test one ... ok
test two ... FAILED
test three ... FAILED

failures:

---- two ----
the devices were not claimed: exit status: 1
END
seq 1 100
cat <<'END'

---- three ----
another reason

failures:
    two
    three

test result: FAILED. 1 passed; 2 failed; 0 ignored
     Running tests/layers.rs (target/debug/deps/layers-1)
test result: ok. 5 passed; 0 failed; 0 ignored
error: 1 target failed:
    `-p xdproof --test devices`
END
exit 101\n";
    let (code, end) = WorkTree::with(cargo).run();
    assert_eq!(code, 1);
    let (summary, reasons) = end.split_once("\n== FAILED: tests without privileges\n").unwrap();
    assert!(summary.contains("FAILED     0 s  tests as root"), "{summary}");
    let (first, second) = reasons.split_once("\n== FAILED: tests as root\n").unwrap();
    for reason in [first, second] {
        let lines: Vec<&str> = reason.lines().collect();
        assert_eq!(lines[0], "     Running tests/devices/main.rs (target/debug/deps/devices-1)");
        for line in
            ["---- two ----", "the devices were not claimed: exit status: 1", "another reason", "    three"]
        {
            assert!(lines.contains(&line), "no {line}: {reason}");
        }
        assert!(!lines.contains(&"100") && lines.len() < 40, "{reason}");
    }
}

#[test]
fn a_reason_is_at_most_60_lines_long() {
    let cargo = "case $1 in
    clippy) seq 1 1000; echo 'error: could not compile'; exit 101 ;;
    test)
        echo failures:
        for test in 1 2 3 4 5 6 7 8 9; do echo \"---- $test ----\"; seq 1 30; done
        echo 'test result: FAILED. 0 passed; 9 failed'
        exit 101
        ;;
esac\n";
    let (code, end) = WorkTree::with(cargo).run();
    assert_eq!(code, 1);
    let reasons: Vec<&str> = end.split("\n== FAILED: ").skip(1).collect();
    assert_eq!(reasons.len(), 3, "{end}");
    let (lints, tests) = (reasons[0], reasons[1]);
    assert!(lints.starts_with("lints") && lints.ends_with("1000\nerror: could not compile\n"), "{lints}");
    assert!(tests.ends_with("\n... and 123 more lines, see above\n"), "{tests}");
    for reason in [lints, tests] {
        assert_eq!(reason.trim_end().lines().count(), 61, "the title and 60 lines: {reason}");
    }
}
