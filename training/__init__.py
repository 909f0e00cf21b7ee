"""The paper's spiking networks, trained with the conversion inside them."""
