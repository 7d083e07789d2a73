#include "engine/quant/dequantize.h"

#include "engine/quant/blocks.h"

namespace tradewind::engine {

DequantizeFn ScalarDequantizer(TensorType type) {
  using namespace internal;
  using enum TensorType;
  switch (type) {
    case kF32:
      return DequantizeF32;
    case kF16:
      return DequantizeF16;
    case kBF16:
      return DequantizeBF16;
    case kQ4_0:
      return DequantizeQ4_0;
    case kQ4_1:
      return DequantizeQ4_1;
    case kQ5_0:
      return DequantizeQ5_0;
    case kQ5_1:
      return DequantizeQ5_1;
    case kQ8_0:
      return DequantizeQ8_0;
    case kQ8_1:
      return DequantizeQ8_1;
    case kQ2_K:
      return DequantizeQ2_K;
    case kQ3_K:
      return DequantizeQ3_K;
    case kQ4_K:
      return DequantizeQ4_K;
    case kQ5_K:
      return DequantizeQ5_K;
    case kQ6_K:
      return DequantizeQ6_K;
    case kQ8_K:
      return DequantizeQ8_K;
    case kIQ1_S:
      return DequantizeIQ1_S;
    case kIQ1_M:
      return DequantizeIQ1_M;
    case kIQ2_XXS:
      return DequantizeIQ2_XXS;
    case kIQ2_XS:
      return DequantizeIQ2_XS;
    case kIQ2_S:
      return DequantizeIQ2_S;
    case kIQ3_XXS:
      return DequantizeIQ3_XXS;
    case kIQ3_S:
      return DequantizeIQ3_S;
    case kIQ4_NL:
      return DequantizeIQ4_NL;
    case kIQ4_XS:
      return DequantizeIQ4_XS;
    case kTQ1_0:
      return DequantizeTQ1_0;
    case kTQ2_0:
      return DequantizeTQ2_0;
    case kMXFP4:
      return DequantizeMXFP4;
    case kNVFP4:
      return DequantizeNVFP4;
    case kQ1_0:
      return DequantizeQ1_0;
    case kQ2_0:
      return DequantizeQ2_0;
    case kI8:
    case kI16:
    case kI32:
    case kI64:
    case kF64:
      break;
  }
  return nullptr;
}

}  // namespace tradewind::engine
