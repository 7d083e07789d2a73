// A model of any shape with random weights, written as one GGUF file: for tests and benchmarks of
// models that nobody needs to download. Its answers mean nothing, its speed and memory are real.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/result.h"
#include "make_model/shape.h"

namespace tradewind::make_model {

// Writes `path` whole or not at all, in little memory whatever the size. The same shape, types and
// seed give the same bytes. Returns the file's size.
// Errors: kInvalidArgument (the shape), kNotFound (no such folder), kResourceExhausted (disk full),
// kIo.
Result<uint64_t> MakeModel(const ModelShape& shape, const TypePlan& types, uint64_t seed,
                           const std::filesystem::path& path);

}  // namespace tradewind::make_model
