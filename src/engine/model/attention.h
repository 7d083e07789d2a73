// Attention of a step over the KV caches of its rows. The work is cut into units of a tile (a few
// consecutive rows of one sequence), a KV head and a piece of the context; all query heads of the
// group share what a unit reads.
//
// Pieces lie at fixed positions whose length depends on the row's position alone, each is summed
// up by itself, and pieces join in order. So a row's result is the same bits for any batch, any cut
// of a prompt into steps and any number of threads, and a single sequence with a long context
// still gives every worker something to do.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kernels/kernels.h"
#include "engine/model/batch.h"
#include "engine/model/config.h"
#include "engine/threads/worker_pool.h"

namespace tradewind::engine {

// One Run at a time. The buffers grow to what the model's shape and the number of workers need, not
// with the context.
class Attention {
 public:
  // All must outlive it.
  Attention(const ModelConfig& config, const Kernels& kernels, WorkerPool& pool);

  // Begins a step: cuts its rows into tiles. The batch must stay until the last Run.
  void Plan(std::span<const BatchRow> batch);

  // Writes K and V of row t, rotated, [K * C] each, to its cache. Any worker; each row once.
  void Store(int64_t layer, int64_t t, std::span<const float> k, std::span<const float> v) const;

  // out [T, H * C] = what the queries q [T, H * C], rotated, see of the caches.
  void Run(int64_t layer, const float* q, float* out);

  // What one worker may come to use.
  static int64_t WorkerFloats(const ModelConfig& config);

 private:
  struct Tile {
    int64_t first_row;  // of the batch
    int64_t rows;
    int64_t position;  // of the first row
    KvSequence* cache;
  };
  // A unit covers pieces [first_piece, end_piece) of a tile. With a slot it is one piece, kept for
  // the merge; without, it is the whole context.
  struct Unit {
    int64_t tile;
    int64_t first_piece;
    int64_t end_piece;
    int64_t slot;  // -1 = none; otherwise KV head h keeps its part at slot * K + h
  };
  // Room for parts of up to `query_rows` rows each.
  struct PartBuffer {
    void Reserve(int64_t parts, int64_t rows, int64_t dim);
    AttentionPart At(int64_t part);
    std::vector<float> floats;
    int64_t query_rows = 0;
    int64_t head_dim = 0;
  };
  // Where a position of a KV head is written.
  struct Head {
    std::byte* keys;
    std::byte* values;
    int64_t inside;  // the block
  };
  struct Worker {
    std::vector<float> scratch;
    PartBuffer parts;  // the piece at hand, and those before it
  };

  void StoreF32(const Head& at, const float* key, const float* value) const;
  void StoreF16(const Head& at, const float* key, const float* value) const;
  void StoreQ8(const Head& at, const float* key, const float* value) const;
  void CutIntoTiles();
  void CutIntoUnits();
  AttentionTask MakeTask(int64_t layer, const Tile& tile, int64_t kv_head, const float* q,
                         int64_t piece, Worker& worker) const;
  void Attend(const AttentionTask& task, const AttentionPart& part) const;
  void AttendUnit(int64_t layer, const Unit& unit, int64_t kv_head, const float* q, float* out,
                  Worker& worker);
  void MergeTile(int64_t tile, int64_t kv_head, float* out);
  float* OutputOf(const Tile& tile, int64_t kv_head, float* out) const;

  const ModelConfig& config_;
  const Kernels& kernels_;
  WorkerPool& pool_;
  const int64_t group_;      // query heads that share a KV head
  const int64_t tile_rows_;  // at most; a divisor of kKvBlockPositions
  std::span<const BatchRow> batch_;
  std::vector<Tile> tiles_;
  std::vector<Unit> units_;  // those of a tile together, in the order of their pieces
  std::vector<int64_t> split_tiles_;
  std::vector<int64_t> first_unit_;  // of each tile, and one past the last
  PartBuffer slots_;
  std::vector<Worker> workers_;
};

}  // namespace tradewind::engine
