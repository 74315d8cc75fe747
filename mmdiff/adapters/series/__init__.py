"""Series of numbers ``(C, T)``: what packages of others build on, and are judged by."""
