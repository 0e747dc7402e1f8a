//! Flows as they are looked at: with their text and plan, their versions, what differs between these, and where their
//! folders are. How flows are saved and enabled lives in the engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use opendmp_model::diagnostic::Diagnostics;
use opendmp_model::document::{Version, check, slug};
use opendmp_ports::journal::{DEFAULT_SPACE, FlowRow, VersionId, VersionInfo};
use opendmp_processor::check_at;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::{Access, Via};
use crate::ask::FileContent;
use crate::diff::{self, Diff, Written};
use crate::drafts::name_in;
use crate::plan::{self, Plan};
use crate::problem::Problem;
use crate::rows::{Flow, Page, Setting, time};
use crate::service::Service;

/// What is remembered of versions, which never change, for listings.
const MOST_BRIEFS: usize = 10_000;

/// In which order flows are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum FlowOrder {
    /// By name.
    #[default]
    #[serde(rename = "name")]
    Name,
    /// The same, backwards.
    #[serde(rename = "-name")]
    NameDown,
    /// Changed first, first.
    #[serde(rename = "changed")]
    Changed,
    /// Changed last, first.
    #[serde(rename = "-changed")]
    ChangedDown,
    /// Without an item the longest, first.
    #[serde(rename = "last_item")]
    LastItem,
    /// With the newest item, first.
    #[serde(rename = "-last_item")]
    LastItemDown,
    /// Fewest under way, first.
    #[serde(rename = "outstanding")]
    Outstanding,
    /// Most under way, first.
    #[serde(rename = "-outstanding")]
    OutstandingDown,
    /// Fewest dead letters, first.
    #[serde(rename = "dead_letters")]
    DeadLetters,
    /// Most dead letters, first.
    #[serde(rename = "-dead_letters")]
    DeadLettersDown,
}

/// Which flows are listed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct FlowListing {
    /// Whose name or description has all of these words, in any case of letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// In which order.
    #[param(inline)]
    pub sort: FlowOrder,
}

/// A flow with its present version.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FlowDetail {
    /// The flow.
    pub flow: Flow,
    /// As it was written.
    pub text: String,
    /// The files it names, by path relative to it.
    pub files: BTreeMap<String, FileContent>,
    /// What it does; absent where this program refuses it, which an earlier one did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// A version of a flow.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FlowVersion {
    /// Its hash, hexadecimal.
    pub version: String,
    /// When it was saved first.
    pub at: String,
    /// By whom.
    pub actor: String,
    /// Whether new items go through it.
    pub present: bool,
}

/// A version of a flow with what is in it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FlowVersionDetail {
    /// Its hash, hexadecimal.
    pub version: String,
    /// When it was saved first.
    pub at: String,
    /// By whom.
    pub actor: String,
    /// Whether new items go through it.
    pub present: bool,
    /// As it was written.
    pub text: String,
    /// The files it names, by path relative to it.
    pub files: BTreeMap<String, FileContent>,
    /// What it does; absent where this program refuses it, which an earlier one did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// Which versions are listed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct VersionListing {
    /// At most this many; 0: 100.
    pub limit: usize,
    /// What follows this cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What is compared with what.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// Hash of a version, `present` or `draft`.
    pub from: String,
    /// Hash of a version, `present` or `draft`.
    pub to: String,
}

/// A flow to be checked.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ToValidate {
    /// YAML or JSON.
    pub text: String,
    /// The files it names, by path relative to it.
    #[serde(default)]
    pub files: BTreeMap<String, FileContent>,
}

/// What is to be said of a flow.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Validated {
    /// Its name, where that can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The identity that the name makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// All errors and warnings.
    pub diagnostics: Diagnostics,
    /// What it would do, if there are no errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// What a listing tells of a version.
#[derive(Clone, Debug)]
pub(crate) struct Brief {
    description: Option<String>,
    processors: u64,
}

async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let span = tracing::Span::current();
    let done = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    done.map_err(|error| Problem::new(500, "broken-off", format!("a thread ended early: {error}")))
}

/// The folders that the sources of a flow look into, but for those that are not below its own.
fn looked_into(document: &serde_json::Value) -> impl Iterator<Item = &Path> {
    use std::path::Component;
    let processors = document["processors"].as_array().into_iter().flatten();
    let paths = processors.filter_map(|processor| processor["source"]["path"].as_str()).map(Path::new);
    paths.filter(|path| path.components().all(|part| matches!(part, Component::CurDir | Component::Normal(_))))
}

fn shown(files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, FileContent> {
    files.into_iter().map(|(path, bytes)| (path, FileContent(bytes))).collect()
}

impl Service {
    /// Has flows that come without a folder get one in this folder.
    #[must_use]
    pub fn with_home(self: Arc<Self>, home: PathBuf) -> Arc<Self> {
        // Given once, where the server begins.
        let _ = self.home.set(home);
        self
    }

    /// Has the service make links that this access lets in once.
    #[must_use]
    pub fn with_access(self: Arc<Self>, access: Arc<Access>) -> Arc<Self> {
        let _ = self.access.set(access);
        self
    }

    /// Has the service tell what it was started with.
    #[must_use]
    pub fn with_settings(self: Arc<Self>, settings: Vec<Setting>) -> Arc<Self> {
        let _ = self.settings.set(settings);
        self
    }

    /// All flows that are asked for, with what listings tell of them.
    pub(crate) async fn list_flows(&self, listing: &FlowListing) -> Result<Vec<Flow>, Problem> {
        let rows = self.engine.journal.flows(DEFAULT_SPACE).await?;
        let mut flows = Vec::with_capacity(rows.len());
        let drafts = self.engine.journal.drafts(DEFAULT_SPACE).await?;
        for row in &rows {
            let draft = drafts.iter().any(|draft| draft.slug == row.slug);
            flows.push(self.told(row, draft).await?);
        }
        if let Some(q) = &listing.q {
            let words: Vec<String> = q.split_whitespace().map(str::to_lowercase).collect();
            flows.retain(|flow| {
                let description = flow.description.as_deref().unwrap_or_default();
                let text = format!("{}\n{}\n{description}", flow.name, flow.flow).to_lowercase();
                words.iter().all(|word| text.contains(word.as_str()))
            });
        }
        let by = |key: fn(&Flow, &Flow) -> std::cmp::Ordering| key;
        let (order, down) = match listing.sort {
            FlowOrder::Name => (by(|a, b| a.name.to_lowercase().cmp(&b.name.to_lowercase())), false),
            FlowOrder::NameDown => (by(|a, b| a.name.to_lowercase().cmp(&b.name.to_lowercase())), true),
            FlowOrder::Changed => (by(|a, b| a.changed.cmp(&b.changed)), false),
            FlowOrder::ChangedDown => (by(|a, b| a.changed.cmp(&b.changed)), true),
            FlowOrder::LastItem => (by(|a, b| a.last_item.cmp(&b.last_item)), false),
            FlowOrder::LastItemDown => (by(|a, b| a.last_item.cmp(&b.last_item)), true),
            FlowOrder::Outstanding => (by(|a, b| a.outstanding.cmp(&b.outstanding)), false),
            FlowOrder::OutstandingDown => (by(|a, b| a.outstanding.cmp(&b.outstanding)), true),
            FlowOrder::DeadLetters => (by(|a, b| a.dead_letters.cmp(&b.dead_letters)), false),
            FlowOrder::DeadLettersDown => (by(|a, b| a.dead_letters.cmp(&b.dead_letters)), true),
        };
        // Among equals by slug, as they come.
        flows.sort_by(|a, b| if down { order(b, a) } else { order(a, b) });
        Ok(flows)
    }

    async fn told(&self, row: &FlowRow, draft: bool) -> Result<Flow, Problem> {
        let brief = self.brief(row.version).await?;
        Ok(Flow {
            description: brief.description.clone(),
            processors: Some(brief.processors),
            draft: Some(draft),
            last_item: row.last_run.map(time),
            ..Flow::from(row)
        })
    }

    async fn brief(&self, version: VersionId) -> Result<Arc<Brief>, Problem> {
        if let Some(known) = crate::service::lock(&self.briefs).get(&version) {
            return Ok(Arc::clone(known));
        }
        let (saved, _) = self.saved(version).await?;
        let description = saved.document.get("description").and_then(serde_json::Value::as_str).map(str::to_owned);
        let processors = saved.document.get("processors").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
        let brief = Arc::new(Brief { description, processors: processors as u64 });
        let mut briefs = crate::service::lock(&self.briefs);
        if briefs.len() >= MOST_BRIEFS {
            briefs.clear();
        }
        briefs.insert(version, Arc::clone(&brief));
        Ok(brief)
    }

    /// A version as it was saved, and about it.
    async fn saved(&self, version: VersionId) -> Result<(Version, VersionInfo), Problem> {
        let row = self.engine.journal.version(version).await?;
        let info = VersionInfo { id: row.id, hash: row.hash, at: row.at, actor: row.actor };
        let hash = info.hash.clone();
        let read = beside(move || serde_json::from_slice::<Version>(&row.body)).await?;
        let saved =
            read.map_err(|error| Problem::new(500, "damaged", format!("version {hash} can't be read: {error}")))?;
        Ok((saved, info))
    }

    async fn plan_of(&self, saved: Version) -> Result<(Version, Option<Plan>), Problem> {
        let registry = Arc::clone(&self.engine.registry);
        beside(move || {
            let plan = plan::plan_of(&saved, &*registry);
            (saved, plan)
        })
        .await
    }

    /// A flow with its present version.
    pub(crate) async fn flow_detail(&self, flow: &str) -> Result<FlowDetail, Problem> {
        let row = self.engine.find_flow(flow).await?;
        let (saved, _) = self.saved(row.version).await?;
        let (saved, plan) = self.plan_of(saved).await?;
        let draft = self.engine.journal.draft(row.space, &row.slug).await?.is_some();
        let flow = self.told(&row, draft).await?;
        Ok(FlowDetail { flow, text: saved.text, files: shown(saved.files), plan })
    }

    /// Versions of a flow, newest first.
    pub(crate) async fn flow_versions(
        &self,
        flow: &str,
        listing: &VersionListing,
    ) -> Result<Page<FlowVersion>, Problem> {
        let row = self.engine.find_flow(flow).await?;
        let before = listing.after.as_ref().map(|after| after.parse().map(VersionId)).transpose();
        let before = before.map_err(|_| Problem::new(400, "bad-cursor", "`after` is not a cursor of this listing"))?;
        let limit = if listing.limit == 0 { 100 } else { listing.limit.min(1_000) };
        let mut versions = self.engine.journal.versions(row.id, before, limit + 1).await?;
        let more = versions.len() > limit;
        versions.truncate(limit);
        let next = versions.last().filter(|_| more).map(|last| last.id.to_string());
        let rows = versions.into_iter().map(|info| FlowVersion {
            present: info.id == row.version,
            version: info.hash,
            at: time(info.at),
            actor: info.actor,
        });
        Ok(Page { rows: rows.collect(), next })
    }

    /// The version of a flow with that hash; `present`: the one that new items go through.
    async fn version_called(&self, row: &FlowRow, hash: &str) -> Result<VersionId, Problem> {
        if hash == "present" {
            return Ok(row.version);
        }
        let found = self.engine.journal.find_version(row.space, &row.slug, hash).await?;
        found.ok_or_else(|| {
            Problem::new(404, "not-found", format!("the flow `{}` has no version `{hash}`", row.slug))
                .with_hint(format!("`GET /api/v1/flows/{}/versions` lists them", row.slug))
        })
    }

    /// One version of a flow.
    pub(crate) async fn flow_version(&self, flow: &str, hash: &str) -> Result<FlowVersionDetail, Problem> {
        let row = self.engine.find_flow(flow).await?;
        let (saved, info) = self.saved(self.version_called(&row, hash).await?).await?;
        let (saved, plan) = self.plan_of(saved).await?;
        Ok(FlowVersionDetail {
            version: info.hash,
            at: time(info.at),
            actor: info.actor,
            present: info.id == row.version,
            text: saved.text,
            files: shown(saved.files),
            plan,
        })
    }

    /// What differs between two versions of a flow, or its draft.
    pub(crate) async fn diff(&self, flow: &str, request: &DiffRequest) -> Result<Diff, Problem> {
        let row = self.engine.find_flow(flow).await?;
        let (from, to) = (self.written(&row, &request.from).await?, self.written(&row, &request.to).await?);
        beside(move || diff::diff(from, to)).await
    }

    async fn written(&self, row: &FlowRow, called: &str) -> Result<(String, Written), Problem> {
        if called == "draft" {
            return Ok((called.to_owned(), self.draft_written(&row.slug).await?));
        }
        let (saved, info) = self.saved(self.version_called(row, called).await?).await?;
        Ok((info.hash, Written { text: saved.text, files: saved.files }))
    }

    /// What is to be said of a flow.
    pub(crate) async fn validate(&self, flow: ToValidate) -> Result<Validated, Problem> {
        let (registry, policy) = (Arc::clone(&self.engine.registry), self.engine.options.policy.clone());
        // Where it would be if it were enabled; a flow without a good name is nowhere.
        let base = self.base("", &flow.text, Via::Socket).await.ok().filter(|base| !base.is_empty());
        beside(move || {
            let files: BTreeMap<_, _> = flow.files.into_iter().map(|(path, content)| (path, content.0)).collect();
            let checked = match &base {
                Some(base) => check_at(&registry, &policy, Path::new(base), &flow.text, &files),
                None => check(&flow.text, &*registry, &files),
            };
            let (diagnostics, plan) = plan::of_checked(&checked, &*registry);
            let name = name_in(&flow.text);
            let identity = name.as_deref().map(slug).filter(|slug| !slug.is_empty());
            Validated { name, slug: identity, diagnostics, plan }
        })
        .await
    }

    /// The folder of a flow that is handed in: the one that is asked for where that may be, the one it has, or one of
    /// its own in the server's. Those who come over HTTP may not name places beyond the roots, but for a flow's own.
    pub(crate) async fn base(&self, asked: &str, text: &str, via: Via) -> Result<String, Problem> {
        let text = text.to_owned();
        let Some(identity) = beside(move || name_in(&text).map(|name| slug(&name))).await?.filter(|it| !it.is_empty())
        else {
            // What is wrong with the name is told by the check.
            return Ok(asked.to_owned());
        };
        let flows = self.engine.journal.flows(DEFAULT_SPACE).await?;
        let present =
            flows.into_iter().find(|row| row.slug == identity).map(|row| row.base).filter(|it| !it.is_empty());
        match (asked.is_empty(), present) {
            (true, Some(present)) => Ok(present),
            (false, Some(present)) if present == asked => Ok(present),
            (false, _) => {
                self.may_name(Path::new(asked), via).await?;
                Ok(asked.to_owned())
            }
            (true, None) => {
                let home = self.home.get().ok_or_else(|| {
                    Problem::new(400, "no-base", "the flow comes without the folder that its paths begin at")
                        .with_hint("give it as `base`")
                })?;
                let folder = home.join(identity);
                self.may_name(&folder, via).await?;
                folder.into_os_string().into_string().map_err(|folder| {
                    Problem::new(409, "bad-base", format!("the folder {} can't be named", folder.display()))
                        .with_hint("start the server in a folder whose name is UTF-8")
                })
            }
        }
    }

    /// Makes the folder of a flow, where it is one in the server's, and in it those that its sources look into: somebody
    /// at a browser could not.
    pub(crate) async fn make_base(&self, base: &str, version: VersionId) -> Result<(), Problem> {
        let base = PathBuf::from(base);
        let Some(home) = self.home.get().filter(|home| base.parent() == Some(home)) else { return Ok(()) };
        tracing::debug!(home = %home.display(), "a flow gets a folder of its own");
        let (saved, _) = self.saved(version).await?;
        let make = move || {
            let mut folders =
                std::iter::once(base.clone()).chain(looked_into(&saved.document).map(|path| base.join(path)));
            folders.try_for_each(|folder| std::fs::create_dir_all(&folder).map_err(|error| (folder, error)))
        };
        let made: Result<(), (PathBuf, std::io::Error)> = beside(make).await?;
        made.map_err(|(base, error)| {
            Problem::new(409, "bad-base", format!("the folder {} can't be made: {error}", base.display()))
                .with_hint("`opendmp serve --data-root` says where flows have their folders")
        })
    }

    /// Whether somebody who comes that way may name a place of this machine: over HTTP only within the data roots or,
    /// without any, the folder that the server was started in.
    pub(crate) async fn may_name(&self, path: &Path, via: Via) -> Result<(), Problem> {
        if !path.is_absolute() {
            return Err(Problem::new(400, "bad-path", format!("`{}` is not an absolute path", path.display())));
        }
        if via == Via::Socket {
            return Ok(());
        }
        let mut roots = self.engine.options.policy.roots().to_vec();
        if roots.is_empty() {
            roots.extend(self.home.get().cloned());
        }
        let asked = path.to_owned();
        if beside(move || opendmp_processor::is_within(&asked, &roots)).await? {
            return Ok(());
        }
        Err(Problem::new(
            403,
            "outside-roots",
            format!("`{}` is outside the data roots of this server", path.display()),
        )
        .with_hint("`opendmp serve --data-root` adds one; on the server's own machine the command line may name any"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_below_a_flows_own_are_made() {
        let source = |path: &str| serde_json::json!({ "source": { "type": "file_drop", "path": path } });
        let paths = ["./inbox", "a/b", "../out", "/etc", "a/../../b", "."].map(source);
        let document = serde_json::json!({ "processors": paths });
        let folders: Vec<&Path> = looked_into(&document).collect();
        assert_eq!(folders, [Path::new("./inbox"), Path::new("a/b"), Path::new(".")]);
        assert_eq!(looked_into(&serde_json::json!({ "processors": 7 })).count(), 0);
    }
}
