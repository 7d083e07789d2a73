#include "identity/schema.h"

namespace tradewind::identity {
namespace {

// Lists (models, providers) are one entry a line: their entries have no control characters.
constexpr storage::Migration kMigrations[] = {
    {"organisations, users, keys, provider keys", R"sql(
CREATE TABLE facts (
  name TEXT PRIMARY KEY,
  value ANY
) STRICT;

CREATE TABLE orgs (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  created_unix_s INTEGER NOT NULL
) STRICT;

CREATE TABLE projects (
  id TEXT PRIMARY KEY,
  org_id TEXT NOT NULL REFERENCES orgs,
  name TEXT NOT NULL,
  created_unix_s INTEGER NOT NULL,
  UNIQUE (org_id, name)
) STRICT;

CREATE TABLE users (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  created_unix_s INTEGER NOT NULL
) STRICT;

CREATE TABLE members (
  org_id TEXT NOT NULL REFERENCES orgs,
  user_id TEXT NOT NULL REFERENCES users,
  role TEXT NOT NULL CHECK (role IN ('viewer', 'member', 'admin')),
  PRIMARY KEY (org_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  project_id TEXT NOT NULL REFERENCES projects,
  user_id TEXT NOT NULL REFERENCES users,
  is_admin INTEGER NOT NULL,
  scopes TEXT NOT NULL,
  models TEXT NOT NULL,
  providers TEXT NOT NULL,
  requests_per_minute INTEGER,
  tokens_per_minute INTEGER,
  concurrency INTEGER,
  created_unix_s INTEGER NOT NULL,
  expires_unix_s INTEGER,
  rotated_unix_s INTEGER,
  revoked_unix_s INTEGER,
  last_used_unix_s INTEGER,
  digest BLOB NOT NULL UNIQUE,
  old_digest BLOB UNIQUE,
  old_expires_unix_s INTEGER
) STRICT;

CREATE TABLE provider_keys (
  owner_kind TEXT NOT NULL CHECK (owner_kind IN ('server', 'org', 'user')),
  owner_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  sealed BLOB NOT NULL,
  fingerprint TEXT NOT NULL,
  created_unix_s INTEGER NOT NULL,
  PRIMARY KEY (owner_kind, owner_id, provider)
) STRICT, WITHOUT ROWID;

INSERT INTO orgs VALUES ('org_default', 'default', unixepoch());
INSERT INTO projects VALUES ('prj_default', 'org_default', 'default', unixepoch());
INSERT INTO users VALUES ('usr_owner', 'owner', unixepoch());
INSERT INTO members VALUES ('org_default', 'usr_owner', 'admin');
)sql"},
    {"limits of organisations", R"sql(
ALTER TABLE orgs ADD COLUMN requests_per_minute INTEGER;
ALTER TABLE orgs ADD COLUMN tokens_per_minute INTEGER;
ALTER TABLE orgs ADD COLUMN concurrency INTEGER;
)sql"},
    {"what follows when a budget is exhausted", R"sql(
ALTER TABLE keys ADD COLUMN local_when_exhausted INTEGER NOT NULL DEFAULT 0;
)sql"},
    {"organisations whose requests wait for the disk", R"sql(
ALTER TABLE orgs ADD COLUMN strict INTEGER NOT NULL DEFAULT 0;
)sql"},
    {"how long an answer may be whose request does not say", R"sql(
ALTER TABLE keys ADD COLUMN max_output INTEGER;
ALTER TABLE orgs ADD COLUMN max_output INTEGER;
)sql"},
    // Keys that name no user are all of the owner, which made him a member everywhere.
    {"members who were added, and those whom a key made", R"sql(
ALTER TABLE members ADD COLUMN reason TEXT NOT NULL DEFAULT 'added'
  CHECK (reason IN ('key', 'added'));
UPDATE members SET reason = 'key' WHERE user_id = 'usr_owner';
)sql"},
    {"users' provider keys for what one organisation pays; empty: for all", R"sql(
ALTER TABLE provider_keys ADD COLUMN org_id TEXT NOT NULL DEFAULT '';
)sql"},
};

}  // namespace

std::span<const storage::Migration> IdentityMigrations() {
  return kMigrations;
}

}  // namespace tradewind::identity
