// The model strings that people and programs write: "org/name", "name", "org/name:local",
// "name:fastest", "name@local".
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tradewind::catalog {

enum class RefSource {
  kWire,         // a request: only ':' parts the place off, and a path is never looked at
  kCommandLine,  // also '@', paths to files, and prefixes of names
};

enum class Place { kDefault, kLocal, kProvider, kPolicy };

struct ModelRef {
  std::string model;  // without the suffix; or the path
  Place place = Place::kDefault;
  std::string suffix;  // what stood after the separator, lower case: "local", "fastest", "together"
  std::string tag;     // an Ollama tag ("8b-q4"); empty when none. "latest" counts as none
  bool is_path = false;
};

// Reads
//   ref := [org "/"] name [sep place | ":" tag]      sep := ":" or, on the command line, "@"
//   place := "local" | "fastest" | "cheapest" | "preferred" | "private" | provider slug
// Errors: kModelNotSupported with param "model" (empty, too long, an empty suffix, an unknown place
// after '@').
//
// `slugs` are the configured providers (Catalog::slugs()); known slugs (known_providers.h) are
// places with or without them.
Result<ModelRef> ParseModelRef(std::string_view text, RefSource source,
                               std::span<const std::string> slugs = {});

}  // namespace tradewind::catalog
