return require "sibling.part"
