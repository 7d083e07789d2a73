// The codebooks of the IQ types: each index stands for four or eight small values, packed into 16
// bits. Facts of the file format; docs/formats/gguf.md says which type uses which.
#pragma once

#include <cstdint>
#include <span>

namespace tradewind::engine {

struct IqGrid {
  std::span<const uint16_t>
      packed;  // value j of entry i is levels[(packed[i] >> (bits * j)) & mask]
  std::span<const int8_t> levels;
  int bits;
  int values;  // in one entry: 4 or 8

  // A two-bit grid has only three levels; the fourth pattern occurs in no entry.
  int Value(uint32_t index, int j) const {
    return levels[(packed[index] >> (bits * j)) & ((1u << bits) - 1u)];
  }
};

const IqGrid& Iq2XxsGrid();  // 256 entries of 8
const IqGrid& Iq2XsGrid();   // 512 of 8
const IqGrid& Iq2SGrid();    // 1024 of 8
const IqGrid& Iq3XxsGrid();  // 256 of 4
const IqGrid& Iq3SGrid();    // 512 of 4
const IqGrid& Iq1Grid();     // 2048 of 8; IQ1_S and IQ1_M

}  // namespace tradewind::engine
