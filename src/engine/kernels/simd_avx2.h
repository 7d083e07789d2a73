// Sixteen lanes on AVX2 (with FMA and F16C), as pairs of 256-bit registers. The functions are
// written once over these types (vector_functions.h, packed_functions.h); simd_avx512.h has the
// same names over single registers, so that both compute the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <immintrin.h>

namespace tradewind::engine {
namespace {  // each instruction set keeps its own copy: nothing here may be merged by the linker

struct Avx2 {
  struct F {
    __m256 a, b;  // lanes 0..7, 8..15
  };
  struct I {
    __m256i a, b;
  };

  // Columns of an integer tile: 2 x 5 sums, two weights, one broadcast and a product fit the
  // sixteen registers (on Zen 3 five are 4 % faster than four, six spill).
  static constexpr int kTileColumns = 5;
  static constexpr int kByteTileColumns = 4;
  static constexpr int kDirectColumns = 4;  // of a tile that also opens up its weights
  // Rows and columns of a float tile over k: 2 x 2 x 2 sums.
  static constexpr int kFloatRows = 2;
  static constexpr int kFloatColumns = 2;
  // Query rows of an attention tile at most, and how many vectors of sums it keeps.
  static constexpr int kAttentionRows = 6;
  static constexpr int kAttentionSums = 6;

  // --- sixteen floats
  static F Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F Set(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  static F Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static F Load(const uint16_t* p) {  // f16
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  static void Store(float* p, F v) {
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
  }
  static void StoreHalf(uint16_t* p, F v) {  // round to nearest even
    constexpr int kRound = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v.a, kRound));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(v.b, kRound));
  }
  static F Add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static F Sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static F Mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static F Div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static F Min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  static F Max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  // x * y + z, rounded once
  static F Fma(F x, F y, F z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  // z - x * y, rounded once
  static F Fnma(F x, F y, F z) {
    return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
  }
  static F Round(F x) {  // to the nearest whole number, ties to even
    constexpr int kRound = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.a, kRound), _mm256_round_ps(x.b, kRound)};
  }
  static F Abs(F x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
  }
  // x > limit ? yes : no; a NaN in x says no
  static F IfGreater(F x, F limit, F yes, F no) {
    return {_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, limit.a, _CMP_GT_OQ)),
            _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, limit.b, _CMP_GT_OQ))};
  }
  static uint32_t GreaterMask(F x, F limit) {  // bit i: lane i of x > limit; not for a NaN
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x.a, limit.a, _CMP_GT_OQ)) |
                                 _mm256_movemask_ps(_mm256_cmp_ps(x.b, limit.b, _CMP_GT_OQ)) << 8);
  }
  static F IfNan(F x, F yes, F no) {
    return {_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q)),
            _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q))};
  }
  // Lanes are added as a tree: i and i + 8, i and i + 4, ...
  static float Sum(F v) {
    const __m256 eight = _mm256_add_ps(v.a, v.b);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static float Largest(F v) {  // no NaN among the lanes
    const __m256 eight = _mm256_max_ps(v.a, v.b);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  static F MaxBits(F x, F y) {  // as int32
    return {
        _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(x.a), _mm256_castps_si256(y.a))),
        _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(x.b), _mm256_castps_si256(y.b)))};
  }
  static float LargestBits(F v) {  // as int32
    const __m256i eight = _mm256_max_epi32(_mm256_castps_si256(v.a), _mm256_castps_si256(v.b));
    const __m128i four =
        _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xB1))));
  }

  // --- sixteen int32, or thirty-two int16
  static I Load(const void* p) {  // 64 bytes
    const auto* const v = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
  }
  static void Store(void* p, I v) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), v.a);
    _mm256_storeu_si256(static_cast<__m256i*>(p) + 1, v.b);
  }
  static I SetInt(int32_t v) { return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)}; }
  // The same four bytes for every lane.
  static I Broadcast(const void* p) {
    const __m256i v = _mm256_castps_si256(_mm256_broadcast_ss(static_cast<const float*>(p)));
    return {v, v};
  }
  static I BytesUnsigned(const void* p) {  // 16 x u8
    const __m128i v = _mm_loadu_si128(static_cast<const __m128i*>(p));
    return {_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))};
  }
  static I BytesSigned(const void* p) {  // 16 x s8
    const __m128i v = _mm_loadu_si128(static_cast<const __m128i*>(p));
    return {_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))};
  }
  static I WordsUnsigned(const void* p) {  // 16 x u16
    const auto* const v = static_cast<const __m128i*>(p);
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(v)),
            _mm256_cvtepu16_epi32(_mm_loadu_si128(v + 1))};
  }
  static void StoreWords(int16_t* p, I v) {  // int32 -> int16, saturating
    // Packing works within 128-bit halves: the permutation puts the lanes back in order.
    const __m256i packed = _mm256_packs_epi32(v.a, v.b);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xD8));
  }
  static F ToFloat(I v) { return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)}; }
  static I ToInt(F v) {  // to nearest even
    return {_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b)};
  }
  static F AsFloat(I v) { return {_mm256_castsi256_ps(v.a), _mm256_castsi256_ps(v.b)}; }
  static I AddInt(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  static I SubInt(I x, I y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
  static I SubWords(I x, I y) {  // int16 lanes
    return {_mm256_sub_epi16(x.a, y.a), _mm256_sub_epi16(x.b, y.b)};
  }
  static int32_t SumInt(I v) {
    const __m256i eight = _mm256_add_epi32(v.a, v.b);
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
  }
  static I And(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
  static I Or(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
  template <int kBits>
  static I ShiftLeft(I x) {  // int32 lanes
    return {_mm256_slli_epi32(x.a, kBits), _mm256_slli_epi32(x.b, kBits)};
  }
  static I ShiftLeftBy(I x, int bits) {  // int32 lanes
    const __m128i count = _mm_cvtsi32_si128(bits);
    return {_mm256_sll_epi32(x.a, count), _mm256_sll_epi32(x.b, count)};
  }
  template <int kBits>
  static I ShiftRightSigned(I x) {  // int32 lanes
    return {_mm256_srai_epi32(x.a, kBits), _mm256_srai_epi32(x.b, kBits)};
  }
  template <int kBits>
  static I WordShiftLeft(I x) {  // int16 lanes
    return {_mm256_slli_epi16(x.a, kBits), _mm256_slli_epi16(x.b, kBits)};
  }
  template <int kBits>
  static I WordShiftRight(I x) {  // int16 lanes, zeros come in
    return {_mm256_srli_epi16(x.a, kBits), _mm256_srli_epi16(x.b, kBits)};
  }
  // table[x] for every byte of x below 16
  static I Lookup(const uint8_t* table16, I x) {
    const __m256i table =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table16)));
    return {_mm256_shuffle_epi8(table, x.a), _mm256_shuffle_epi8(table, x.b)};
  }
  // sum + w[2i] * x[2i] + w[2i+1] * x[2i+1] over pairs of int16
  static I MulAddPairs(I sum, I w, I x) {
    return InOrder({_mm256_add_epi32(sum.a, _mm256_madd_epi16(w.a, x.a)),
                    _mm256_add_epi32(sum.b, _mm256_madd_epi16(w.b, x.b))});
  }
  static I Pairwise(I w, I x) { return {_mm256_madd_epi16(w.a, x.a), _mm256_madd_epi16(w.b, x.b)}; }
  // Integer sums may be re-associated, and the compiler does it with an unrolled tile: it adds
  // products up first, runs out of registers and spills the sums. This hides them from it.
  static I InOrder(I sum) {
    asm("" : "+x"(sum.a), "+x"(sum.b));
    return sum;
  }

  // Products of unsigned codes of `bits` bits and signed bytes are added up in int16: after so many
  // steps the sums must be widened. 0: a single step could overflow.
  static constexpr int ByteSteps(int bits) {
    return bits == 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 0;
  }
  static I MulBytes(I codes, I x) {
    return InOrder({_mm256_maddubs_epi16(codes.a, x.a), _mm256_maddubs_epi16(codes.b, x.b)});
  }
  static I AddBytes(I words, I codes, I x) {
    return InOrder({_mm256_add_epi16(words.a, _mm256_maddubs_epi16(codes.a, x.a)),
                    _mm256_add_epi16(words.b, _mm256_maddubs_epi16(codes.b, x.b))});
  }
  static I Widen(I words) { return Pairwise(words, SetInt(0x00010001)); }
  static I WidenTimes256(I words) { return Pairwise(words, SetInt(0x01000100)); }
  // 32 numbers q = 256 * high + low; every 8 bytes as c0 c4 c1 c5 c2 c6 c3 c7. Bit i of the result:
  // high bytes 4 i to 4 i + 3 are not all 0.
  static uint8_t SplitBlock(const int16_t* q, int8_t* low, int8_t* high) {
    const __m128i even = _mm_set1_epi64x(0x0E060C040A020800);
    const __m128i odd = _mm_set1_epi64x(0x0F070D050B030901);
    const __m128i round = _mm_set1_epi16(128);
    int zeros = 0;
    for (int half = 0; half < 2; ++half) {
      const auto* const from = reinterpret_cast<const __m128i*>(q + 16 * half);
      const __m128i a = _mm_loadu_si128(from);
      const __m128i b = _mm_loadu_si128(from + 1);
      const __m128i lows = _mm_unpacklo_epi64(_mm_shuffle_epi8(a, even), _mm_shuffle_epi8(b, even));
      const __m128i highs = _mm_unpacklo_epi64(_mm_shuffle_epi8(_mm_add_epi16(a, round), odd),
                                               _mm_shuffle_epi8(_mm_add_epi16(b, round), odd));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(low + 16 * half), lows);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(high + 16 * half), highs);
      const __m128i none = _mm_cmpeq_epi32(highs, _mm_setzero_si128());
      zeros |= _mm_movemask_ps(_mm_castsi128_ps(none)) << 4 * half;
    }
    return static_cast<uint8_t>(~zeros);
  }

  // 2^n * p for whole n in [-150, 128], in two exact steps so that denormal results are reached.
  static F ScaleByPowerOfTwo(F p, F n) {
    const I exponent = ToInt(n);
    const I half = ShiftRightSigned<1>(exponent);
    const I rest = SubInt(exponent, half);
    const I bias = SetInt(127);
    const F first = AsFloat(ShiftLeft<23>(AddInt(half, bias)));
    const F second = AsFloat(ShiftLeft<23>(AddInt(rest, bias)));
    return Mul(Mul(p, first), second);
  }
};

}  // namespace
}  // namespace tradewind::engine
