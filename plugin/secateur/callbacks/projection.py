"""The one interface every training-time compression method implements.

A projection keeps a layer's weight inside the set its method allows (sparse, clustered, ternary
...). It is attached to the weight variable as its Keras `constraint`, so the optimizer applies it
inside the compiled train step, after each update, with no per-batch Python.

Straight-through training on a latent copy needs no custom gradient: Keras computes the gradient at
the projected weight Q(latent), the optimizer moves the variable by some delta, and the projection
adds exactly that delta to the latent copy before projecting again:

    latent += w - previous;   w = previous = Q(latent)
"""
