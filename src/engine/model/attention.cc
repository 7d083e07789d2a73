#include "engine/model/attention.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/check.h"
#include "base/limits.h"

namespace tradewind::engine {
namespace {

constexpr int64_t kBlock = limits::kKvBlockPositions;

// A tile of about this many query rows shares a block that is opened once: converting it then costs
// a few percent of multiplying it, and the tile's queries and sums stay in L2.
constexpr int64_t kTileQueryRows = 64;

// A piece is long enough that merging it costs little, and a context has at most kPiecesMax of
// them, which bounds the memory of a split.
constexpr int64_t kPiecePositions = 512;
constexpr int64_t kPiecesMax = 16;

// Below this many tasks per worker the context of a tile is split over the workers; and only of
// tiles so thin that their parts are small.
constexpr int64_t kTasksPerWorker = 4;
constexpr int64_t kSplitRowsMax = 4;

constexpr int64_t kStoredAtOnce = 64;  // dims

int64_t TileRows(const ModelConfig& config) {
  const int64_t group = config.heads / config.kv_heads;
  const auto rows = static_cast<uint64_t>(std::clamp<int64_t>(kTileQueryRows / group, 1, kBlock));
  return static_cast<int64_t>(std::bit_floor(rows));
}

int64_t PieceLength(int64_t position) {
  int64_t length = kPiecePositions;
  while (position / length >= kPiecesMax) {
    length *= 2;
  }
  return length;
}

int64_t PartFloats(int64_t query_rows, int64_t head_dim) {
  return query_rows * (2 + PaddedHeadDim(head_dim));
}

}  // namespace

Attention::Attention(const ModelConfig& config, const Kernels& kernels, WorkerPool& pool)
    : config_(config),
      kernels_(kernels),
      pool_(pool),
      group_(config.heads / config.kv_heads),
      tile_rows_(TileRows(config)),
      workers_(static_cast<size_t>(pool.threads())) {
  static_assert(kPiecePositions % kBlock == 0);
}

int64_t Attention::WorkerFloats(const ModelConfig& config) {
  const int64_t group = config.heads / config.kv_heads;
  const int64_t query_rows = TileRows(config) * group;
  const int64_t split_rows = std::min(TileRows(config), kSplitRowsMax) * group;
  return AttentionScratchFloats(config.head_dim, query_rows) +
         2 * PartFloats(query_rows, config.head_dim) +
         kTasksPerWorker * kPiecesMax * PartFloats(split_rows, config.head_dim);
}

void Attention::PartBuffer::Reserve(int64_t parts, int64_t rows, int64_t dim) {
  query_rows = rows;
  head_dim = dim;
  const auto needed = static_cast<size_t>(parts * PartFloats(rows, dim));
  floats.resize(std::max(floats.size(), needed));
}

AttentionPart Attention::PartBuffer::At(int64_t part) {
  float* const out = floats.data() + part * PartFloats(query_rows, head_dim);
  float* const largest = out + query_rows * PaddedHeadDim(head_dim);
  return {largest, largest + query_rows, out};
}

void Attention::Plan(std::span<const BatchRow> batch) {
  batch_ = batch;
  CutIntoTiles();
  CutIntoUnits();
  // Here, because a helper thread must not run out of memory.
  for (Worker& worker : workers_) {
    const int64_t query_rows = tile_rows_ * group_;
    worker.scratch.resize(
        static_cast<size_t>(AttentionScratchFloats(config_.head_dim, query_rows)));
    worker.parts.Reserve(2, query_rows, config_.head_dim);
  }
}

// A tile ends where a multiple of tile_rows_ does: its rows then end in the same KV block.
void Attention::CutIntoTiles() {
  tiles_.clear();
  for (int64_t row = 0; row < static_cast<int64_t>(batch_.size()); ++row) {
    const BatchRow& at = batch_[static_cast<size_t>(row)];
    if (!tiles_.empty() && at.position % tile_rows_ != 0) {
      Tile& last = tiles_.back();
      if (last.cache == at.cache && last.position + last.rows == at.position) {
        ++last.rows;
        continue;
      }
    }
    tiles_.push_back({row, 1, at.position, at.cache});
  }
}

void Attention::CutIntoUnits() {
  units_.clear();
  split_tiles_.clear();
  first_unit_.clear();
  const auto tiles = static_cast<int64_t>(tiles_.size());
  const bool few = tiles * config_.kv_heads < kTasksPerWorker * pool_.threads();
  int64_t slots = 0;
  int64_t query_rows_max = 0;
  for (int64_t t = 0; t < tiles; ++t) {
    const Tile& tile = tiles_[static_cast<size_t>(t)];
    first_unit_.push_back(static_cast<int64_t>(units_.size()));
    const int64_t length = PieceLength(tile.position);
    const int64_t seen_from =
        config_.sliding_window > 0 ? tile.position + 1 - config_.sliding_window : 0;
    const int64_t first = std::max(int64_t{0}, seen_from) / length;
    const int64_t end = tile.position / length + 1;
    if (!few || tile.rows > kSplitRowsMax || end - first == 1) {
      units_.push_back({t, first, end, -1});
      continue;
    }
    for (int64_t piece = first; piece < end; ++piece) {
      units_.push_back({t, piece, piece + 1, slots++});
    }
    split_tiles_.push_back(t);
    query_rows_max = std::max(query_rows_max, tile.rows * group_);
  }
  first_unit_.push_back(static_cast<int64_t>(units_.size()));
  slots_.Reserve(slots * config_.kv_heads, query_rows_max, config_.head_dim);
}

void Attention::Store(int64_t layer, int64_t t, std::span<const float> k,
                      std::span<const float> v) const {
  const BatchRow& row = batch_[static_cast<size_t>(t)];
  const int64_t dim = config_.head_dim;
  const int64_t block = row.position / kBlock;
  TW_CHECK(block < static_cast<int64_t>(row.cache->blocks().size()));
  for (int64_t head = 0; head < config_.kv_heads; ++head) {
    const Head at{.keys = row.cache->MutableKeys(block, layer, head),
                  .values = row.cache->MutableValues(block, layer, head),
                  .inside = row.position % kBlock};
    switch (row.cache->type()) {
      case KvType::kF32:
        StoreF32(at, k.data() + head * dim, v.data() + head * dim);
        break;
      case KvType::kF16:
        StoreF16(at, k.data() + head * dim, v.data() + head * dim);
        break;
      case KvType::kQ8_0:
        StoreQ8(at, k.data() + head * dim, v.data() + head * dim);
        break;
    }
  }
}

void Attention::StoreF32(const Head& at, const float* key, const float* value) const {
  const int64_t dim = config_.head_dim;
  auto* const keys = reinterpret_cast<float*>(at.keys);
  for (int64_t c = 0; c < dim; ++c) {
    keys[c * kBlock + at.inside] = key[c];
  }
  std::copy(value, value + dim,
            reinterpret_cast<float*>(at.values) + at.inside * PaddedHeadDim(dim));
}

void Attention::StoreF16(const Head& at, const float* key, const float* value) const {
  const int64_t dim = config_.head_dim;
  auto* const keys = reinterpret_cast<uint16_t*>(at.keys);
  uint16_t half[kStoredAtOnce];
  for (int64_t c = 0; c < dim; c += kStoredAtOnce) {
    const int64_t n = std::min(kStoredAtOnce, dim - c);
    kernels_.to_half(key + c, n, half);
    for (int64_t i = 0; i < n; ++i) {
      keys[(c + i) * kBlock + at.inside] = half[i];
    }
  }
  kernels_.to_half(value, dim,
                   reinterpret_cast<uint16_t*>(at.values) + at.inside * PaddedHeadDim(dim));
}

void Attention::StoreQ8(const Head& at, const float* key, const float* value) const {
  static_assert(kStoredAtOnce % kQ8Group == 0);
  const int64_t dim = config_.head_dim;
  const int64_t padded = PaddedHeadDim(dim);
  const int64_t groups = Q8Groups(dim);
  auto* const keys = reinterpret_cast<int8_t*>(at.keys);
  auto* const key_scales = reinterpret_cast<uint16_t*>(at.keys + kBlock * dim);
  int8_t codes[kStoredAtOnce];
  uint16_t scales[kStoredAtOnce / kQ8Group];
  for (int64_t c = 0; c < dim; c += kStoredAtOnce) {
    const int64_t n = std::min(kStoredAtOnce, dim - c);
    kernels_.quantize_q8_0(key + c, n, codes, scales);
    for (int64_t i = 0; i < n; ++i) {
      keys[(c + i) * kBlock + at.inside] = codes[i];
    }
    for (int64_t g = 0; g < Q8Groups(n); ++g) {
      key_scales[(c / kQ8Group + g) * kBlock + at.inside] = scales[g];
    }
  }
  kernels_.quantize_q8_0(
      value, dim, reinterpret_cast<int8_t*>(at.values) + at.inside * padded,
      reinterpret_cast<uint16_t*>(at.values + kBlock * padded) + at.inside * groups);
}

void Attention::Run(int64_t layer, const float* q, float* out) {
  const int64_t heads = config_.kv_heads;
  const auto units = static_cast<int64_t>(units_.size());
  // From the last unit on: in a prompt it has the longest context, and short ones even out the end.
  pool_.ParallelFor(units * heads, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) {
      const Unit& unit = units_[static_cast<size_t>(units - 1 - task / heads)];
      AttendUnit(layer, unit, task % heads, q, out, workers_[static_cast<size_t>(worker)]);
    }
  });
  const auto split = static_cast<int64_t>(split_tiles_.size());
  pool_.ParallelFor(split * heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t task = begin; task < end; ++task) {
      MergeTile(split_tiles_[static_cast<size_t>(task / heads)], task % heads, out);
    }
  });
}

AttentionTask Attention::MakeTask(int64_t layer, const Tile& tile, int64_t kv_head, const float* q,
                                  int64_t piece, Worker& worker) const {
  const int64_t q_stride = config_.heads * config_.head_dim;
  const int64_t length = PieceLength(tile.position);
  const int64_t window =
      config_.sliding_window > 0 ? config_.sliding_window : std::numeric_limits<int32_t>::max();
  const int64_t seen_from = std::max(int64_t{0}, tile.position + 1 - window) / kBlock * kBlock;
  return {.blocks = tile.cache->block_data(),
          .keys_offset = tile.cache->shape().keys_offset(layer, kv_head),
          .values_offset = tile.cache->shape().values_offset(layer, kv_head),
          .begin = std::max(piece * length, seen_from),
          .end = std::min((piece + 1) * length, tile.position + tile.rows),
          .first_position = tile.position,
          .rows = tile.rows,
          .window = window,
          .q = q + tile.first_row * q_stride + kv_head * group_ * config_.head_dim,
          .q_stride = q_stride,
          .group = group_,
          .head_dim = config_.head_dim,
          .scale = config_.attention_scale,
          .scratch = worker.scratch.data()};
}

void Attention::Attend(const AttentionTask& task, const AttentionPart& part) const {
  switch (batch_.front().cache->type()) {
    case KvType::kF32:
      return kernels_.attend_f32(task, part);
    case KvType::kF16:
      return kernels_.attend_f16(task, part);
    case KvType::kQ8_0:
      return kernels_.attend_q8_0(task, part);
  }
}

void Attention::AttendUnit(int64_t layer, const Unit& unit, int64_t kv_head, const float* q,
                           float* out, Worker& worker) {
  const Tile& tile = tiles_[static_cast<size_t>(unit.tile)];
  const int64_t dim = config_.head_dim;
  const int64_t query_rows = tile.rows * group_;
  if (unit.slot >= 0) {
    const int64_t slot = unit.slot * config_.kv_heads + kv_head;
    Attend(MakeTask(layer, tile, kv_head, q, unit.first_piece, worker), slots_.At(slot));
    return;
  }
  const AttentionPart total = worker.parts.At(0);
  const AttentionPart part = worker.parts.At(1);
  for (int64_t piece = unit.first_piece; piece < unit.end_piece; ++piece) {
    const bool is_first = piece == unit.first_piece;
    Attend(MakeTask(layer, tile, kv_head, q, piece, worker), is_first ? total : part);
    if (!is_first) {
      kernels_.merge_attention(part, total, query_rows, dim);
    }
  }
  kernels_.finish_attention(total, tile.rows, group_, dim, OutputOf(tile, kv_head, out),
                            config_.heads * dim);
}

void Attention::MergeTile(int64_t t, int64_t kv_head, float* out) {
  const Tile& tile = tiles_[static_cast<size_t>(t)];
  const int64_t dim = config_.head_dim;
  const int64_t query_rows = tile.rows * group_;
  const auto part = [&](int64_t unit) {
    const int64_t slot = units_[static_cast<size_t>(unit)].slot;
    return slots_.At(slot * config_.kv_heads + kv_head);
  };
  const int64_t first = first_unit_[static_cast<size_t>(t)];
  const AttentionPart total = part(first);
  for (int64_t unit = first + 1; unit < first_unit_[static_cast<size_t>(t) + 1]; ++unit) {
    kernels_.merge_attention(part(unit), total, query_rows, dim);
  }
  kernels_.finish_attention(total, tile.rows, group_, dim, OutputOf(tile, kv_head, out),
                            config_.heads * dim);
}

float* Attention::OutputOf(const Tile& tile, int64_t kv_head, float* out) const {
  return out + (tile.first_row * config_.heads + kv_head * group_) * config_.head_dim;
}

}  // namespace tradewind::engine
