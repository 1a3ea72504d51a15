//===-- GraphOrder.cpp - Names and order of the nodes of a graph --------------------------------------------------===//
#include "lib/Import/GraphOrder.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

#include <queue>

using namespace mlir;
using namespace sparse::import;
using NameCallback = llvm::function_ref<void(StringRef)>;

/// Calls `use` with every name that `graph` reads from outside.
static void captures(const proto::GraphProto &graph, NameCallback use);

/// Calls `use` with every name that `node` reads, including what its subgraphs capture.
static void reads(const proto::NodeProto &node, NameCallback use) {
  for (const std::string &name : node.input())
    if (!name.empty())
      use(name);
  for (const proto::AttributeProto &attribute : node.attribute()) {
    if (attribute.has_g())
      captures(attribute.g(), use);
    for (const proto::GraphProto &graph : attribute.graphs())
      captures(graph, use);
  }
}

static void captures(const proto::GraphProto &graph, NameCallback use) {
  llvm::StringSet<> own;
  for (const proto::ValueInfoProto &input : graph.input())
    own.insert(input.name());
  for (const proto::TensorProto &initializer : graph.initializer())
    own.insert(initializer.name());
  for (const proto::NodeProto &node : graph.node())
    for (const std::string &name : node.output())
      own.insert(name);
  auto outer = [&](StringRef name) {
    if (!own.contains(name))
      use(name);
  };
  for (const proto::NodeProto &node : graph.node())
    reads(node, outer);
  for (const proto::ValueInfoProto &output : graph.output())
    outer(output.name());
}

/// Reports a cycle among the nodes that were not `placed`; `inputsOf[n]` are the nodes that n waits for.
static LogicalResult reportCycle(const google::protobuf::RepeatedPtrField<proto::NodeProto> &nodes,
                                 ArrayRef<SmallVector<int, 2>> usersOf, const std::vector<bool> &placed,
                                 const OrderContext &context) {
  // Every unplaced node waits for an unplaced one: walking back from any of them must come around.
  std::vector<int> waitsFor(nodes.size(), -1);
  int at = -1;
  for (int i = 0, e = nodes.size(); i < e; ++i)
    if (!placed[i])
      for (int user : usersOf[i])
        if (!placed[user])
          waitsFor[at = user] = i;
  std::vector<bool> seen(nodes.size());
  while (!seen[at]) {
    seen[at] = true;
    at = waitsFor[at];
  }
  auto diagnostic = emitError(context.location(at)) << "is part of a cycle: its result '";
  diagnostic << (nodes[at].output_size() ? nodes[at].output(0) : std::string()) << "' depends on itself";
  return diagnostic;
}

FailureOr<SmallVector<int>>
sparse::import::orderNodes(const google::protobuf::RepeatedPtrField<proto::NodeProto> &nodes,
                           const OrderContext &context) {
  int count = nodes.size();
  llvm::StringMap<int> producers;
  for (int i = 0; i < count; ++i)
    for (const std::string &name : nodes[i].output()) {
      if (name.empty())
        continue;
      if (context.taken(name))
        return emitError(context.location(i)) << "produces '" << name << "', which is an input or an initializer";
      if (!producers.try_emplace(name, i).second)
        return emitError(context.location(i)) << "produces '" << name << "', which another node produces as well";
    }

  std::vector<int> missing(count);
  std::vector<SmallVector<int, 2>> usersOf(count);
  for (int i = 0; i < count; ++i) {
    StringRef unknown;
    reads(nodes[i], [&](StringRef name) {
      if (auto found = producers.find(name); found != producers.end()) {
        usersOf[found->second].push_back(i);
        ++missing[i];
      } else if (!context.visible(name)) {
        unknown = name;
      }
    });
    if (!unknown.empty())
      return emitError(context.location(i)) << "reads '" << unknown << "', which nothing produces";
  }

  // Always the first node of the file that is ready, so that a sorted file keeps its order.
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (int i = 0; i < count; ++i)
    if (missing[i] == 0)
      ready.push(i);
  SmallVector<int> order;
  std::vector<bool> placed(count);
  while (!ready.empty()) {
    int node = ready.top();
    ready.pop();
    placed[node] = true;
    order.push_back(node);
    for (int user : usersOf[node])
      if (--missing[user] == 0)
        ready.push(user);
  }
  if (static_cast<int>(order.size()) < count)
    return reportCycle(nodes, usersOf, placed, context);
  return order;
}
