"""The course as readers get it: its notebooks run, their times kept, pages made of them."""
