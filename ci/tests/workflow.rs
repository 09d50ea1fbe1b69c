//! `workflow.yml` is YAML, calls only scripts of `ci/`, and tests the kernels of `kernels.toml`.

#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::path::Path;

use yaml_rust2::{Yaml, YamlLoader};

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn workflow() -> Yaml {
    YamlLoader::load_from_str(&read("workflow.yml")).unwrap().remove(0)
}

/// Returns the steps of all jobs.
fn steps(workflow: &Yaml) -> Vec<&Yaml> {
    let jobs = workflow["jobs"].as_hash().unwrap().values();
    jobs.flat_map(|job| job["steps"].as_vec().unwrap()).collect()
}

#[test]
fn the_kernels_of_the_workflow_are_those_of_the_matrix() {
    let kernels: toml::Table = toml::from_str(&read("kernels.toml")).unwrap();
    let series: Vec<&str> = kernels["kernel"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kernel| kernel["series"].as_str().unwrap())
        .collect();
    let workflow = workflow();
    let matrix = &workflow["jobs"]["kernels"]["strategy"]["matrix"];
    let tested: Vec<&str> =
        matrix["kernel"].as_vec().unwrap().iter().map(|kernel| kernel.as_str().unwrap()).collect();
    assert_eq!(tested, series);
    let parts = matrix["part"].as_vec().unwrap().len();
    let runs: Vec<&str> = steps(&workflow).iter().filter_map(|step| step["run"].as_str()).collect();
    assert!(
        runs.iter().any(|run| run.contains(&format!("--partition ${{{{ matrix.part }}}}/{parts}"))),
        "{runs:?}"
    );
}

#[test]
fn each_step_is_an_action_or_calls_an_existing_script() {
    let workflow = workflow();
    let mut scripts = 0;
    for step in steps(&workflow) {
        match (step["uses"].as_str(), step["run"].as_str()) {
            (Some(action), None) => assert!(action.starts_with("actions/"), "{action}"),
            (None, Some("cat report/report.md >>\"$GITHUB_STEP_SUMMARY\"")) => {}
            (None, Some(run)) => {
                let script = run.split(' ').next().unwrap();
                assert!(script.starts_with("ci/") && run.lines().count() == 1, "{run}");
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(script).is_file(), "{script}");
                scripts += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(scripts > 0);
}

#[test]
fn the_workflow_has_read_permission_only() {
    let workflow = workflow();
    assert_eq!(workflow["permissions"].as_hash().unwrap().len(), 1);
    assert_eq!(workflow["permissions"]["contents"].as_str(), Some("read"));
}
