//! `sluice vtl`: mapping templates without a gateway.

use crate::Failure;
use crate::args::{VtlCommand, VtlInput};
use sluice_vtl::{Case, Rendered};
use std::path::{Path, PathBuf};

pub(crate) fn dispatch(command: VtlCommand) -> Result<(), Failure> {
    match command {
        VtlCommand::Run(input) => run(&input),
        VtlCommand::Test { folder } => test(&folder),
        VtlCommand::Trace(input) => trace(&input),
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| Failure::Runtime(format!("{}: {error}", file.display())))
}

fn case(input: &VtlInput) -> Result<Case, Failure> {
    let text = |file: &Option<PathBuf>| file.as_deref().map(read).transpose();
    let (given, context) = (text(&input.input)?, text(&input.context)?);
    let mut case = Case::from_parts(given.as_deref(), context.as_deref())
        .map_err(|error| Failure::Runtime(error.to_string()))?;
    case.template = read(&input.template)?;
    if let Some(body) = text(&input.body)? {
        case.set_body(body);
    }
    Ok(case)
}

fn run(input: &VtlInput) -> Result<(), Failure> {
    let name = input.template.display().to_string();
    let rendered = case(input)?.run(&name).map_err(|error| Failure::Runtime(error.to_string()))?;
    show(&rendered);
    Ok(())
}

fn trace(input: &VtlInput) -> Result<(), Failure> {
    let name = input.template.display().to_string();
    let result = case(input)?.trace(&name, &mut |step| {
        let place = format!("{}:{}", step.line, step.column);
        println!("{place:<8}{} = {}", step.what, step.value.escape_debug());
    });
    let rendered = result.map_err(|error| Failure::Runtime(error.to_string()))?;
    println!("-------- output, after {} steps", rendered.fuel_used);
    show(&rendered);
    Ok(())
}

fn show(rendered: &Rendered) {
    print!("{}", rendered.text);
    if !rendered.text.ends_with('\n') {
        println!();
    }
    for change in &rendered.overrides {
        eprintln!("$context.{} = {}", change.name, change.value);
    }
}

fn test(folder: &Path) -> Result<(), Failure> {
    let files = cases(folder)?;
    if files.is_empty() {
        return Err(Failure::Runtime(format!("{}: no *.json in it", folder.display())));
    }
    let mut wrong = 0;
    for file in &files {
        let case = Case::read(&read(file)?)
            .map_err(|error| Failure::Runtime(format!("{}: {error}", file.display())))?;
        let name = file.display().to_string();
        if let Some((expected, found)) = case.judge(&case.run(&name)) {
            wrong += 1;
            println!("{name}: differs");
            differences(&expected, &found);
        }
    }
    println!("{} of {} cases as expected", files.len() - wrong, files.len());
    if wrong > 0 { Err(Failure::Runtime(format!("{wrong} of {} cases differ", files.len()))) } else { Ok(()) }
}

/// The lines that differ, with white space made visible.
fn differences(expected: &str, found: &str) {
    let mut line = 0;
    let (mut old, mut new) = (expected.split('\n'), found.split('\n'));
    loop {
        line += 1;
        let (old, new) = (old.next(), new.next());
        if old.is_none() && new.is_none() {
            return;
        }
        if old != new {
            for (sign, text) in [('-', old), ('+', new)] {
                if let Some(text) = text {
                    println!("  {line:>4} {sign} {}", text.escape_debug());
                }
            }
        }
    }
}

/// Cases of a folder and of those in it, by name.
fn cases(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fault = |error: std::io::Error| Failure::Runtime(format!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let path = entry.path();
        // A link to a folder could lead round in circles.
        if entry.file_type().map_err(fault)?.is_dir() {
            found.extend(cases(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
