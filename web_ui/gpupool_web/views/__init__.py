"""What the pages show, as markup made of REST's JSON: pure, so that it can be tested without a browser."""
