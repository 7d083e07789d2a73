// The tables of identity.db.
#pragma once

#include <span>

#include "storage/migrations.h"

namespace tradewind::identity {

std::span<const storage::Migration> IdentityMigrations();

}  // namespace tradewind::identity
