// float -> block formats with one scale per block: for tests, converters and model writers, not for
// speed. Source: the quantising rules of docs/formats/gguf.md; files written by the common tools
// follow the same rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "engine/quant/types.h"

namespace tradewind::engine {

// Round to nearest even; a NaN stays a (quiet) NaN.
uint16_t FloatToBfloat16(float value);

// Writes RowBytes(type, row.size()) bytes to `out`, which is exactly that long.
// Types: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0. Errors: kUnsupported for another type;
// kInvalidArgument when the row is not whole blocks, when `out` has another size, or when a block
// holds values that its f16 scale cannot carry (not finite, or too large). `out` is then partly
// written.
Status QuantizeRow(TensorType type, std::span<const float> row, std::span<std::byte> out);

}  // namespace tradewind::engine
