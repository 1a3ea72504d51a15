//===-- Digest.cpp - SHA-256 --------------------------------------------------------------------------------------===//
#include "lib/Package/Digest.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"

#include <openssl/evp.h>

std::string sparse::package::digestOf(llvm::StringRef bytes) {
  uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr);
  return llvm::toHex(llvm::ArrayRef(digest, length), /*LowerCase=*/true);
}

llvm::ErrorOr<std::string> sparse::package::fileDigest(llvm::StringRef path) {
  auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!file)
    return file.getError();
  return digestOf((*file)->getBuffer());
}
