// The function table of one instruction set, from the functions written over its lanes.
// Only for the files of the instruction sets.
#pragma once

#include <string_view>

#include "engine/kernels/attention_functions.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/packed_functions.h"
#include "engine/kernels/vector_functions.h"

namespace tradewind::engine {
namespace {

template <class S>
constexpr Kernels MakeTable(std::string_view name) {
  return {
      .name = name,
      .dequantizer = Dequantizer<S>,
      .dot_tile = DotTile<S>,
      .quantize = Quantize<S>,
      .quantize_mixed = QuantizeMixed<S>,
      .dot_strip = SelectDotStrip<S>,
      .open_panel = SelectOpenPanel<S>,
      .dot_panel = DotPanel<S>,
      .open_byte_panel = SelectOpenBytePanel<S>,
      .dot_byte_panel = DotBytePanel<S>,
      .tile_width = S::kByteTileColumns,
      .split_bytes = SplitBytes<S>,
      .rms_norm = RmsNorm<S>,
      .silu_multiply = SiluMultiply<S>,
      .add = Add<S>,
      .attend_f16 = Attend<S, PlainBlock<S, uint16_t>>,
      .attend_f32 = Attend<S, PlainBlock<S, float>>,
      .attend_q8_0 = Attend<S, Q8Block<S>>,
      .merge_attention = MergeAttention<S>,
      .finish_attention = FinishAttention<S>,
      .to_half = ToHalf<S>,
      .quantize_q8_0 = QuantizeQ8<S>,
  };
}

}  // namespace
}  // namespace tradewind::engine
