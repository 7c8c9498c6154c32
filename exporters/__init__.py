"""Trained models to one release: ONNX, Treelite, FAISS, item table; gated, hashed, published into Triton."""
