"""Names of people of many cultures, each word of which belongs to one split."""

import random
from dataclasses import dataclass

from pdata.synthetic.natural.phrasing import MADE_UP, make_name, words_of

# women, men, surnames
CULTURES = (
    (
        "Elif Zeynep Defne Ayla Selin Nehir Derya Gizem Ceren Esma",
        "Emre Kerem Burak Cem Ozan Tolga Baran Mert Sinan Umut",
        "Yilmaz Demir Kaya Aydin Arslan Korkmaz Polat Erdem Tekin Gunes",
    ),
    (
        "Agnieszka Zofia Hanna Magda Kinga Ewa Jadwiga Iwona Marta Danuta",
        "Piotr Marek Jakub Tomasz Pawel Wojtek Kamil Szymon Leszek Bartek",
        "Nowak Kowalski Mazur Zielinska Wrona Sikora Kubiak Wilk Lis Duda",
    ),
    (
        "Beatriz Larissa Camila Juliana Leticia Marina Bruna Iara Renata Luana",
        "Thiago Rafael Caio Gustavo Otavio Davi Murilo Heitor Joaquim Breno",
        "Souza Barbosa Teixeira Moreira Azevedo Cardoso Ribeiro Pinto Nunes Farias",
    ),
    (
        "Adaeze Ngozi Chiamaka Ifeoma Folake Amara Temitope Yetunde Zainab Halima",
        "Chinedu Emeka Tunde Obinna Segun Kelechi Ikenna Femi Bashir Dayo",
        "Okafor Adeyemi Eze Balogun Nwosu Okonkwo Adebayo Obi Lawal Onyeka",
    ),
    (
        "Astrid Linnea Freja Ebba Saga Ingrid Maja Tuva Signe Elsa",
        "Lars Anders Nils Viggo Oskar Axel Gustaf Sven Tore Mikael",
        "Lindqvist Bergstrom Holm Nystrom Ekman Sandberg Wallin Forsberg Dahl Engstrom",
    ),
    (
        "Eleni Katerina Ioanna Despina Kalliope Anthi Vasiliki Fotini Daphne Niki",
        "Nikos Yannis Kostas Stavros Petros Spiros Leonidas Thanos Dimitris Makis",
        "Papadakis Nikolaou Georgiou Vlachos Makris Zervas Kanellis Dimas Lekkas Sideris",
    ),
    (
        "Rasha Noor Rania Yasmin Salma Huda Dalia Farida Samira Mona",
        "Omar Karim Youssef Tariq Khalid Nabil Hamza Faris Walid Ziad",
        "Haddad Mansour Khoury Saleh Nasser Aziz Hamdan Farouk Qasim Sabbagh",
    ),
    (
        "Thuy Lan Huong Trang Ngoc Hanh Phuong Linh Mai Yen",
        "Minh Tuan Quang Duc Hieu Khoa Bao Dung Thanh Vinh",
        "Nguyen Thach Lam Hoang Phan Vu Dang Bui Dinh Truong",
    ),
    (
        "Jiwoo Seoyeon Minji Hayoon Yuna Eunji Sujin Haeun Nari Dasom",
        "Minjun Jihoon Seojun Hyunwoo Taeyang Joon Dohyun Kyung Woojin Sangho",
        "Park Choi Jung Kang Yoon Jang Lim Shin Kwon Hwang",
    ),
    (
        "Wanjiru Akinyi Achieng Nyambura Makena Wambui Chebet Moraa Njeri Atieno",
        "Kamau Otieno Kiprono Mwangi Barasa Njoroge Wafula Kiplagat Ochieng Mutua",
        "Odhiambo Kariuki Cheruiyot Maina Omondi Kimani Wekesa Rotich Muthoni Karanja",
    ),
    (
        "Aino Helmi Sanni Kaisa Venla Tuuli Outi Pirkko Siiri Aada",
        "Eero Jukka Antti Veikko Ilmari Tapio Pekka Onni Juhani Arvo",
        "Virtanen Korhonen Nieminen Laine Heikkila Salonen Rantala Koskela Lehtonen Jokinen",
    ),
    (
        "Zsofia Katalin Ildiko Eszter Boglarka Reka Orsolya Piroska Dora Agnes",
        "Gabor Istvan Laszlo Ferenc Balazs Matyas Zoltan Attila Akos Bence",
        "Szabo Toth Horvath Kovacs Varga Molnar Farkas Balogh Lakatos Juhasz",
    ),
    (
        "Shirin Parisa Mahsa Azadeh Leila Nasrin Golnaz Mitra Setareh Roya",
        "Reza Arash Kaveh Dariush Babak Navid Siavash Behrouz Farhad Kian",
        "Karimi Tehrani Moradi Rostami Jafari Sadeghi Ahmadi Bahrami Kazemi Shirazi",
    ),
    (
        "Celine Amelie Margaux Manon Solene Odile Clemence Elodie Mathilde Noemie",
        "Antoine Etienne Baptiste Thierry Mathieu Olivier Gaspard Remi Yves Luc",
        "Dubois Lefevre Moreau Girard Fontaine Chevalier Rousseau Mercier Renaud Blanchard",
    ),
    (
        "Lucia Ximena Valeria Paloma Rocio Marisol Pilar Itziar Araceli Nuria",
        "Javier Alvaro Mateo Ignacio Gonzalo Andres Pablo Joaquin Esteban Ramiro",
        "Navarro Castillo Vidal Molina Serrano Fuentes Cabrera Salazar Ibarra Quintana",
    ),
    (
        "Philippa Harriet Imogen Beatrice Rosalind Winifred Tabitha Cordelia Verity Gwen",
        "Alistair Barnaby Rupert Fergus Hamish Percy Clive Gareth Magnus Desmond",
        "Whitlock Thornbury Ashdown Pemberton Fairweather Lockwood Hargrove Penrose Winslow Moss",
    ),
    (
        "Kavita Sunita Meenakshi Lakshmi Deepa Usha Padma Gauri Revati Charu",
        "Jayesh Mahesh Girish Naveen Prakash Vinod Harish Ashwin Mohan Sanjeev",
        "Iyengar Kulkarni Deshpande Mukherjee Chatterjee Thakkar Pillai Shetty Sengupta Gokhale",
    ),
    (
        "Chiyo Kazuko Noriko Fumiko Tomoe Setsuko Masumi Hisako Teruko Yoshie",
        "Tadashi Hiroto Noboru Isamu Makoto Shigeru Yasuo Mitsuo Goro Ryuji",
        "Fujimori Kurosawa Nishikawa Okamura Shimada Tanigawa Hoshino Uchiyama Hamasaki Morioka",
    ),
)

# beginnings and ends of first names and surnames that are made up, see `make_name`
FIRST = (
    "Ab Al Bel Cas Cor Dar Del El Fen Fin Gav Hel Ish Ivo Jan Jov Kel Lam Lor Mar Mel Ned Nor Or "
    "Pav Per Rin Ros Sam Sel Tam Tov Ul Val Ves Vol Yar Zel",
    "a an ara e ek en ena i ian iel in io is o on ora ov u us yn",
)
LAST = (
    "Bal Bran Cald Cor Dov Esk Fal Gor Gren Hal Hov Jar Kal Kest Lund Mal Mer Nor Ost Pel Quin Ror "
    "Sal Sol Tav Ter Vand Ver Wex Zor",
    "ado aro berg een er escu ett evic ian ides in kov ley man o oz sen shaw son stad ulin wick",
)
KNOWN = frozenset(word for culture in CULTURES for words in culture for word in words.split())


@dataclass(frozen=True, slots=True)
class Person:
    """A full name and the pronouns that go with it."""

    name: str
    they: str
    their: str


def draw_people(rng: random.Random, n: int, split: str) -> list[Person]:
    """`n` people, no two of whom share a first name or a surname."""
    people: dict[str, Person] = {}
    surnames: set[str] = set()
    while len(people) < n:
        women, men, families = rng.choice(CULTURES)
        they, their, firsts = rng.choice((("she", "her", women), ("he", "his", men)))
        first = _draw_word(rng, firsts, FIRST, split)
        last = _draw_word(rng, families, LAST, split)
        if first not in people and last not in surnames:
            people[first] = Person(f"{first} {last}", they, their)
            surnames.add(last)
    return list(people.values())


def _draw_word(rng: random.Random, words: str, parts: tuple[str, str], split: str) -> str:
    """One of the words of that split, or one made of two parts."""
    if rng.random() < MADE_UP:
        return make_name(rng, parts, split, KNOWN)
    return rng.choice(words_of(words, split))
