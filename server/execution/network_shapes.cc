// Of network_symbols.h, the operations that compute nothing: they choose channels and change
// shapes.

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "server/execution/network_symbols.h"

namespace torchd {
namespace {

// Whether it is that of the channels.
void CheckChannels(const Symbol& symbol, int64_t dim) {
  TORCH_CHECK(symbol.dims.size() == 4 && symbol.groups == 1 && (dim == 1 || dim == -3),
              "a choice of other than a picture's channels");
}

// Of `each`; the last is what is left.
std::vector<int64_t> PiecesOf(int64_t all, int64_t each) {
  TORCH_CHECK(each > 0, "pieces of ", each);
  std::vector<int64_t> sizes;
  for (int64_t left = all; left > 0; left -= each) sizes.push_back(std::min(each, left));
  return sizes;
}

}  // namespace

Answer Symbols::SliceChannels(const Symbol& from, int64_t begin, int64_t end) {
  Dims dims = from.dims;
  dims[1] = end - begin;
  TORCH_CHECK(begin >= 0 && begin < end && end <= from.dims[1], "no channels ", begin, " to ", end);
  std::vector<Channel> channels;
  for (int64_t at = begin; at < end; ++at) channels.push_back({0, at});
  return AddChannels({from.node}, std::move(channels), std::move(dims));
}

Answer Symbols::SplitAt(const Symbol& from, const std::vector<int64_t>& sizes) {
  Answer pieces;
  pieces.list = true;
  int64_t begin = 0;
  for (const int64_t size : sizes) {
    pieces.symbols.push_back(SliceChannels(from, begin, begin + size).symbols[0]);
    begin += size;
  }
  TORCH_CHECK(begin == from.dims[1], "pieces of other channels");
  return pieces;
}

Answer Symbols::Concatenate(const Call& call) {
  const std::vector<Symbol>& pieces = call.At(0).symbols;
  TORCH_CHECK(!pieces.empty(), "nothing to join");
  const int64_t dim = call.Constant(1).toInt();
  Dims dims = pieces[0].dims;
  dims.at(1) = 0;
  std::vector<size_t> inputs;
  std::vector<Channel> channels;
  for (const Symbol& piece : pieces) {
    CheckChannels(piece, dim);
    for (const size_t same : {0, 2, 3}) {
      TORCH_CHECK(piece.dims[same] == dims[same], "pictures of unequal sizes");
    }
    for (int64_t at = 0; at < piece.dims[1]; ++at) channels.push_back({inputs.size(), at});
    inputs.push_back(piece.node);
    dims[1] += piece.dims[1];
  }
  return AddChannels(std::move(inputs), std::move(channels), std::move(dims));
}

Answer Symbols::Chunk(const Call& call) {
  const Symbol& from = call.One(0);
  CheckChannels(from, call.Constant(2).toInt());
  const int64_t count = call.Constant(1).toInt();
  TORCH_CHECK(count > 0, count, " pieces");
  return SplitAt(from, PiecesOf(from.dims[1], (from.dims[1] + count - 1) / count));
}

Answer Symbols::Split(const Call& call) {
  const Symbol& from = call.One(0);
  CheckChannels(from, call.Constant(2).toInt());
  if (!call.Constant(1).isInt()) return SplitAt(from, call.Constant(1).toIntVector());
  return SplitAt(from, PiecesOf(from.dims[1], call.Constant(1).toInt()));
}

Answer Symbols::Narrow(const Call& call) {
  const Symbol& from = call.One(0);
  CheckChannels(from, call.Constant(1).toInt());
  const int64_t begin = call.Constant(2).toInt();
  return SliceChannels(from, begin, begin + call.Constant(3).toInt());
}

Answer Symbols::Slice(const Call& call) {
  const Symbol& from = call.One(0);
  const int64_t dim = call.Constant(1).toInt();
  TORCH_CHECK(dim >= 0 && dim < static_cast<int64_t>(from.dims.size()), "no dimension ", dim);
  const int64_t size = from.dims[static_cast<size_t>(dim)];
  const auto bound = [&](size_t at, int64_t otherwise) {
    if (call.Constant(at).isNone()) return otherwise;
    const int64_t value = call.Constant(at).toInt();
    return std::clamp<int64_t>(value < 0 ? value + size : value, 0, size);
  };
  const int64_t begin = bound(2, 0);
  const int64_t end = bound(3, size);
  TORCH_CHECK(call.Constant(4).toInt() == 1, "a slice with steps");
  if (begin == 0 && end == size) return {{from}};
  CheckChannels(from, dim);
  return SliceChannels(from, begin, end);
}

// [rows, groups * n, ...] to [rows, groups, n, ...] and back, perhaps with these two turned.
Answer Symbols::Reshaped(const Symbol& from, std::vector<int64_t> sizes) {
  const auto unknown = std::find(sizes.begin(), sizes.end(), -1);
  if (unknown != sizes.end()) {
    *unknown = 1;
    *unknown = CountOf(from.dims) / std::max<int64_t>(CountOf(sizes), 1);
  }
  TORCH_CHECK(CountOf(sizes) == CountOf(from.dims), "a shape of another size");
  if (sizes == from.dims) return {{from}};
  const bool flat = sizes.size() == 2 && sizes[0] == from.dims[0] && from.groups == 1;
  if (flat && from.dims.size() == 4) return Flattened(from);
  const auto same_pixels = [&](const Dims& four, const Dims& five) {
    return four.size() == 4 && five.size() == 5 && four[0] == five[0] &&
           four[1] == five[1] * five[2] && four[2] == five[3] && four[3] == five[4];
  };
  if (from.groups == 1 && same_pixels(from.dims, sizes)) {
    return {{{from.node, sizes, sizes[1], false}}};
  }
  TORCH_CHECK(from.groups > 1 && same_pixels(sizes, from.dims), "a change of shape");
  if (!from.turned) return {{{from.node, sizes}}};
  std::vector<Channel> channels;
  for (int64_t at = 0; at < sizes[1]; ++at) {
    const int64_t within = at / from.groups;
    const int64_t group = at % from.groups;
    channels.push_back({0, group * (sizes[1] / from.groups) + within});
  }
  return AddChannels({from.node}, std::move(channels), sizes);
}

Answer Symbols::View(const Call& call) {
  return Reshaped(call.One(0), call.Constant(1).toIntVector());
}

Answer Symbols::Transpose(const Call& call) {
  Symbol turned = call.One(0);
  const int64_t first = call.Constant(1).toInt();
  const int64_t second = call.Constant(2).toInt();
  TORCH_CHECK(turned.dims.size() == 5 && std::minmax(first, second) == std::minmax<int64_t>(1, 2),
              "a change of dimensions");
  std::swap(turned.dims[1], turned.dims[2]);
  turned.turned = !turned.turned;
  return {{turned}};
}

Answer Symbols::Flattened(const Symbol& from) {
  Node node;
  node.kind = Node::Kind::kFlatten;
  node.inputs = {from.node};
  node.dims = {from.dims[0], CountOf(from.dims) / from.dims[0]};
  return Add(std::move(node));
}

Answer Symbols::Flatten(const Call& call) {
  const Symbol& from = call.One(0);
  const int64_t first = call.Constant(1).toInt();
  const int64_t last = call.Constant(2).toInt();
  const auto dims = static_cast<int64_t>(from.dims.size());
  TORCH_CHECK(first == 1 && (last == -1 || last == dims - 1) && from.groups == 1,
              "a flattening of other than each row");
  return dims == 2 ? Answer{{from}} : Flattened(from);
}

Answer Symbols::Same(const Call& call) { return {{call.One(0)}}; }

Answer Symbols::Size(const Call& call) {
  const Symbol& from = call.One(0);
  if (call.operands.size() > 1) {
    const auto count = static_cast<int64_t>(from.dims.size());
    const int64_t dim = call.Constant(1).toInt();
    return {{}, false, from.dims.at(static_cast<size_t>(dim < 0 ? dim + count : dim))};
  }
  return {{}, false, c10::IValue(from.dims)};
}

Answer Symbols::DimCount(const Call& call) {
  return {{}, false, static_cast<int64_t>(call.One(0).dims.size())};
}

}  // namespace torchd
