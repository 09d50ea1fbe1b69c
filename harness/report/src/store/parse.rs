//! Parses documents: reads which schema they name, upgrades older ones, and names the place of each error.

use std::{fmt, path::Path};

use serde::{
    Deserialize,
    de::{
        DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess,
        Visitor,
    },
};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use xdproof_core::model::{COLLECTION_SCHEMA, Collection, RunResult, SCHEMA};

use crate::store::{
    error::StoreError,
    upgrade::{COLLECTION_V1, RESULT_V1, old_path, upgrade},
};

/// A document in the current version.
pub(super) enum StoredDocument {
    Result(Box<RunResult>),
    Collection(Collection),
}

/// The key that every document has.
#[derive(Deserialize)]
#[serde(expecting = "a result")]
struct Labelled {
    schema: Option<Value>,
}

/// Parses a document of any version up to the current one.
pub(super) fn document(file: &Path, text: &[u8]) -> Result<StoredDocument, StoreError> {
    let Labelled { schema } = match serde_json::from_slice::<Labelled>(text) {
        Err(error) if !error.is_data() => {
            parse::<Map<String, Value>>(file, text).and_then(|_| parse(file, text))?
        }
        _ => parse(file, text)?,
    };
    Ok(match schema.as_ref().and_then(Value::as_str) {
        Some(SCHEMA) => StoredDocument::Result(parse(file, text)?),
        Some(COLLECTION_SCHEMA) => StoredDocument::Collection(parse(file, text)?),
        Some(RESULT_V1) => StoredDocument::Result(parse_old(file, text)?),
        Some(COLLECTION_V1) => StoredDocument::Collection(parse_old(file, text)?),
        other => return Err(other_schema(file, other)),
    })
}

/// Parses a document of the current version.
fn parse<T: DeserializeOwned>(file: &Path, text: &[u8]) -> Result<T, StoreError> {
    // Tracking the path takes time, so it is done only where it is needed.
    if let Ok(document) = serde_json::from_slice(text) {
        return Ok(document);
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    match serde_path_to_error::deserialize(&mut reader) {
        Err(error) => Err(malformed(file, error.path().to_string(), error.inner(), error.inner())),
        Ok(document) => match reader.end() {
            Ok(()) => Ok(document),
            Err(error) => Err(malformed(file, String::new(), &error, &error)),
        },
    }
}

/// Parses a document of version 1.
fn parse_old<T: DeserializeOwned>(file: &Path, text: &[u8]) -> Result<T, StoreError> {
    let malformed_at = |path: &[String], error: &serde_json::Error| {
        let place = PathSeed(path).deserialize(&mut serde_json::Deserializer::from_slice(text)).err();
        let path: String = path.iter().map(|segment| rendered(segment)).collect();
        malformed(file, path.trim_start_matches('.').to_owned(), error, place.as_ref().unwrap_or(error))
    };
    let document = upgrade(parse(file, text)?).map_err(|its| malformed_at(&its.path, &its.error))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let known = |segment: &Segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        malformed_at(&old_path(&error.path().iter().map_while(known).collect::<Vec<_>>()), error.inner())
    })
}

fn rendered(segment: &str) -> String {
    if segment.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("[{segment}]")
    } else {
        format!(".{segment}")
    }
}

fn malformed(file: &Path, path: String, error: &serde_json::Error, place: &serde_json::Error) -> StoreError {
    let text = error.to_string();
    let end = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&end).unwrap_or(&text).to_owned();
    StoreError::Malformed {
        file: file.to_owned(),
        line: place.line(),
        column: place.column().max(1),
        path,
        reason,
    }
}

/// Fails where the value of this path ends in a text, so that the error has the line and the column.
#[derive(Clone, Copy)]
struct PathSeed<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for PathSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0.is_empty() {
            IgnoredAny::deserialize(deserializer)?;
            return Err(D::Error::custom("here"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PathSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.0 {
                [first, rest @ ..] if *first == key => map.next_value_seed(PathSeed(rest))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Err(A::Error::custom("missing"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (first, rest) = self.0.split_first().map_or(("", self.0), |(first, rest)| (first.as_str(), rest));
        for _ in 0..first.parse::<usize>().unwrap_or(0) {
            seq.next_element::<IgnoredAny>()?;
        }
        seq.next_element_seed(PathSeed(rest))?;
        Err(A::Error::custom("missing"))
    }
}

/// The error of a schema that is not read here: a later version of ours, or none of ours.
pub(super) fn other_schema(file: &Path, schema: Option<&str>) -> StoreError {
    let file = file.to_owned();
    for newest in [SCHEMA, COLLECTION_SCHEMA] {
        if let Some(schema) = schema.filter(|schema| is_newer(schema, newest)) {
            return StoreError::NewerSchema { file, schema: schema.to_owned(), newest };
        }
    }
    StoreError::OtherSchema { file, schema: schema.map(str::to_owned) }
}

/// Returns whether both are versions of one schema, and the first is the later.
fn is_newer(schema: &str, newest: &str) -> bool {
    let split = |schema: &str| {
        let (name, version) = schema.rsplit_once('/')?;
        Some((name.to_owned(), version.parse::<u32>().ok()?))
    };
    matches!((split(schema), split(newest)), (Some(its), Some(ours)) if its.0 == ours.0 && its.1 > ours.1)
}
