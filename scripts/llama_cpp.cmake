# llama-cpp-python asks for the library of llama.cpp's programs in the cache; a variable goes before that.
set(LLAMA_BUILD_COMMON OFF)
