//===-- Diagnostics.cpp - How the tools print diagnostics ---------------------------------------------------------===//
#include "lib/Driver/Diagnostics.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Location.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Process.h"

using namespace mlir;
using namespace sparse::driver;

// Names come from untrusted files: control characters must not reach a terminal. UTF-8 passes.
static void printName(StringRef name, raw_ostream &os) {
  for (char c : name)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      os << "\\x" << llvm::hexdigit(c >> 4 & 0xf, true) << llvm::hexdigit(c & 0xf, true);
    else
      os << c;
}

void sparse::driver::printLocation(Location location, raw_ostream &os) {
  if (auto named = dyn_cast<NameLoc>(location)) {
    auto file = dyn_cast<FileLineColLoc>(named.getChildLoc());
    // Column 0 marks a place in an ONNX file: the line is the number of a node, or 0 (see lib/Import/Source.h).
    if (file && file.getColumn() == 0) {
      printName(file.getFilename(), os);
      os << (file.getLine() ? ": node '" : ": ");
      printName(named.getName(), os);
      if (file.getLine())
        os << "' (#" << file.getLine() << ")";
      return;
    }
    if (!isa<UnknownLoc>(named.getChildLoc())) {
      printLocation(named.getChildLoc(), os);
      os << ": ";
    }
    os << "'";
    printName(named.getName(), os);
    os << "'";
  } else if (auto file = dyn_cast<FileLineColLoc>(location)) {
    printName(file.getFilename(), os);
    if (file.getLine() || file.getColumn())
      os << ":" << file.getLine() << ":" << file.getColumn();
  } else if (auto fused = dyn_cast<FusedLoc>(location); fused && !fused.getLocations().empty()) {
    printLocation(fused.getLocations().front(), os);
  } else if (auto call = dyn_cast<CallSiteLoc>(location)) {
    printLocation(call.getCallee(), os);
  } else {
    os << "<unknown location>";
  }
}

DiagnosticPrinter::DiagnosticPrinter(MLIRContext *context, raw_ostream &os)
    : ScopedDiagnosticHandler(context), os(os),
      colours(&os == &llvm::errs() && llvm::sys::Process::StandardErrHasColors() &&
              !llvm::sys::Process::GetEnv("NO_COLOR")) {
  // One line each: the note that shows the op in full stays out.
  context->printOpOnDiagnostic(false);
  setHandler([this](Diagnostic &diagnostic) {
    print(diagnostic, 0);
    return success();
  });
}

void DiagnosticPrinter::print(Diagnostic &diagnostic, unsigned indent) {
  struct Style {
    const char *name;
    raw_ostream::Colors colour;
  };
  Style style = {"error", raw_ostream::RED};
  switch (diagnostic.getSeverity()) {
  case DiagnosticSeverity::Error: ++errorCount; break;
  case DiagnosticSeverity::Warning: style = {"warning", raw_ostream::MAGENTA}; break;
  case DiagnosticSeverity::Note: style = {"note", raw_ostream::CYAN}; break;
  case DiagnosticSeverity::Remark: style = {"remark", raw_ostream::BLUE}; break;
  }
  os.indent(indent);
  printLocation(diagnostic.getLocation(), os);
  os << ": ";
  if (colours)
    os.changeColor(style.colour, /*Bold=*/true);
  os << style.name;
  if (colours)
    os.resetColor();
  std::string text;
  llvm::raw_string_ostream(text) << diagnostic;
  os << ": ";
  printName(text, os);
  os << '\n';
  for (Diagnostic &note : diagnostic.getNotes())
    print(note, indent + 2);
}
